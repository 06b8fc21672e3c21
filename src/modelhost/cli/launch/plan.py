"""How an agent is started: its command, variables and files, as a child process or as a script for a shell.

The key of the host and the directory of the files are known only when the agent starts. They stand in a plan as values
of their own, so that a script names them instead of showing them.
"""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from modelhost.config.environment import KEY_VARIABLE, current
from modelhost.errors import ConfigError
from modelhost.operations.cards import ModelCard

NO_KEY: Final = "none"
"""What agents send as the key to a host without keys: most of them do not start without one."""
DIRECTORY_VARIABLE: Final = "directory"


@dataclass(frozen=True, slots=True)
class HostKey:
    """The key of the host, or :data:`NO_KEY`."""


@dataclass(frozen=True, slots=True)
class InDirectory:
    """The temporary directory of the plan's files, or a file in it."""

    file: str = ""


Value = str | HostKey | InDirectory


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The host that an agent is to use, and the model of it."""

    url: str
    """Without ``/v1``."""
    model: ModelCard
    models: tuple[ModelCard, ...]
    """All models of the host that chat."""

    @property
    def openai_url(self) -> str:
        """The base URL for clients of OpenAI's API."""
        return f"{self.url}/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFile:
    """A configuration in JSON, for the temporary directory."""

    content: Mapping[str, Any]
    base: Path | None = None
    """A file of the user whose settings it takes over, if that exists. It may hold keys, so scripts do not show it."""

    def text(self) -> str:
        """Return the text of the file, with the settings of ``base``.

        Raises:
            ConfigError: ``base`` is no JSON object.
        """
        return as_json(self.content if self.base is None else _merged(_read(self.base), self.content))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How an agent is started."""

    arguments: tuple[Value, ...] = ()
    variables: Mapping[str, Value] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    """Variables that the agent must not inherit, since they would send it elsewhere."""
    files: Mapping[str, ConfigFile] = field(default_factory=dict)
    """Files in a temporary directory, by their names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    title: str
    program: str
    """The name of its program on the ``PATH``."""
    install: str
    """The command that installs it."""
    plan: Callable[[Target, Mapping[str, str]], Plan]
    """Makes the plan for a target; gets the environment, too."""
    api: str = "/v1/chat/completions"
    """The path of the host that it needs."""


def as_json(value: Any) -> str:
    """Return ``value`` as JSON for a file or a variable."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path} is not a JSON object")
    return found


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in changes.items():
        before = merged.get(name)
        merged[name] = _merged(before, value) if isinstance(before, dict) and isinstance(value, Mapping) else value
    return merged


def resolved(value: Value, api_key: str | None, directory: Path) -> str:
    """Return ``value`` as text."""
    match value:
        case HostKey():
            return api_key or NO_KEY
        case InDirectory(file):
            return str(directory / file)
    return value


def environment_of(plan: Plan, inherited: Mapping[str, str], api_key: str | None, directory: Path) -> dict[str, str]:
    kept = {name: text for name, text in inherited.items() if name not in plan.removed}
    return kept | {name: resolved(value, api_key, directory) for name, value in plan.variables.items()}


def script_of(agent: Agent, plan: Plan, extra: tuple[str, ...], *, has_key: bool) -> str:
    """Return the lines of a shell that start the agent in the same way; they name the key's variable, not the key."""
    lines = [f"unset {' '.join(plan.removed)}"] if plan.removed else []
    if plan.files:
        lines.append(f"{DIRECTORY_VARIABLE}=$(mktemp -d)")
    for name, file in plan.files.items():
        if file.base is not None:
            lines.append(f"# modelhost launch adds the settings in {file.base}, if it exists.")
        lines.append(f"cat > \"${DIRECTORY_VARIABLE}/{name}\" <<'END'\n{as_json(file.content)}\nEND")
    lines += [_exported(name, value, has_key) for name, value in plan.variables.items()]
    words = [agent.program, *(_in_shell(value, has_key) for value in plan.arguments), *map(shlex.quote, extra)]
    return "\n".join([*lines, " ".join(words)])


def _exported(name: str, value: Value, has_key: bool) -> str:
    is_itself = name == KEY_VARIABLE and has_key and isinstance(value, HostKey)
    return f"export {name}" if is_itself else f"export {name}={_in_shell(value, has_key)}"


def _in_shell(value: Value, has_key: bool) -> str:
    match value:
        case HostKey():
            return f'"${KEY_VARIABLE}"' if has_key else NO_KEY
        case InDirectory(file):
            return f'"${DIRECTORY_VARIABLE}{f"/{file}" if file else ""}"'
    return shlex.quote(value)


FORWARDED: Final = (signal.SIGTERM, signal.SIGHUP)
"""Signals for this process alone, which the agent gets, too. Ctrl-C and Ctrl-\\ reach both from the terminal."""
FROM_THE_TERMINAL: Final = (signal.SIGINT, signal.SIGQUIT)
SIGNAL_BASE: Final = 128
"""The status of a program that a signal ended is this and the signal's number, as shells report it."""


def run_agent(agent: Agent, plan: Plan, extra: tuple[str, ...], api_key: str | None) -> int:
    """Run ``agent`` until it ends; return its exit status. Its files exist as long as it runs.

    Raises:
        ConfigError: it is not installed.
    """
    inherited = current()
    program = shutil.which(agent.program, path=inherited.get("PATH"))
    if program is None:
        raise ConfigError(
            f"{agent.title} is not installed: there is no {agent.program} on the PATH. Install it: {agent.install}"
        )
    with tempfile.TemporaryDirectory(prefix="modelhost-launch-") as made:  # which only this user can read
        directory = Path(made)
        for name, file in plan.files.items():
            (directory / name).write_text(file.text(), "utf-8")
        arguments = [resolved(value, api_key, directory) for value in plan.arguments]
        return _status_of([program, *arguments, *extra], environment_of(plan, inherited, api_key, directory))


def _status_of(command: list[str], environment: Mapping[str, str]) -> int:
    with _left_to_the_child() as children, subprocess.Popen(command, env=environment) as child:  # noqa: S603
        children.append(child)
        status = child.wait()
    return status if status >= 0 else SIGNAL_BASE - status


@contextmanager
def _left_to_the_child() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Leave signals to the processes that are put into the list: this one ends when they have ended."""
    children: list[subprocess.Popen[bytes]] = []

    def forward(number: int, _frame: Any) -> None:
        for child in children:
            child.send_signal(number)

    # Handlers and not SIG_IGN, which the child would inherit.
    before = {number: signal.signal(number, forward) for number in FORWARDED}
    before |= {number: signal.signal(number, lambda *_: None) for number in FROM_THE_TERMINAL}
    try:
        yield children
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
