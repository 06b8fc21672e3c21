"""The llama.cpp of this machine: the devices it can compute on, and the ``llama-server`` in its place, if one is named.

That is the engine option ``server`` of a model, else ``LLAMA_SERVER`` in the environment of the host, else that of the
package ``modelhost-llamacpp`` (``packaging/llamacpp``), unless this machine has a build of its own.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from modelhost.config.environment import SERVER_VARIABLE, current
from modelhost.config.paths import expand_home
from modelhost.engines.llamacpp.program import NotAServerError, lists_gpus, output_of, version_in
from modelhost.errors import ConfigError

OPTION: Final = "server"
NAME: Final = "llama-server"
PACKAGED: Final = "modelhost-llamacpp"


def with_server(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the engine options with the absolute path of the named program; unchanged if none is named.

    An empty ``server`` means the library's own server, whatever the environment names.

    Raises:
        ConfigError: there is no such program.
    """
    if OPTION in options:
        named, source = options[OPTION], f'engine option "{OPTION}"'
    else:
        named, source = current().get(SERVER_VARIABLE, "").strip(), SERVER_VARIABLE
    if named in (None, ""):
        return options
    if not isinstance(named, str):
        raise ConfigError(f"{source} takes the path of a llama-server, not {named!r}", param="engine_options")
    return {**options, OPTION: _program(named, source)}


def with_packaged_server(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return completed options with the program of the package, if it is installed and they do not decline it."""
    packaged = None if OPTION in options else packaged_server()
    return options if packaged is None else {**options, OPTION: packaged}


def packaged_server() -> str | None:
    """Return the path of the package's ``llama-server``; ``None``: it is not installed."""
    spec = find_spec(PACKAGED.replace("-", "_"))
    if spec is None or spec.origin is None:
        return None
    return str(Path(spec.origin).with_name("bin") / NAME)


def server_version() -> tuple[str, str] | None:
    """Return the version and the path of the ``llama-server`` that the environment names; ``None`` if it names none.

    Raises:
        ConfigError: it is no ``llama-server``.
    """
    path = with_server({}).get(OPTION)
    if path is None:
        return None
    try:
        return f"{NAME} {version_in(output_of(path, '--version'), path)}", path
    except NotAServerError as error:
        raise ConfigError(f"{SERVER_VARIABLE}: {error}", param="engine_options") from error


def _program(named: str, source: str) -> str:
    """Return the absolute path of a program that is named by its path, or by its name alone.

    Raises:
        ConfigError: there is none, or it is not executable.
    """
    is_path = "/" in named or named.startswith("~")
    place = expand_home(named) if is_path else named
    if found := shutil.which(place):
        return str(Path(found).absolute())
    if not is_path:
        reason = f'there is no program "{named}" on the PATH; name its whole path'
    elif Path(place).is_dir():
        reason = f"{named} is a folder; name the program in it: {Path(named) / NAME}"
    elif Path(place).exists():
        reason = f"{named} is not executable; if it is a llama-server: chmod +x {named}"
    else:
        reason = f"there is no {named}"
    raise ConfigError(f"{source}: {reason}", param="engine_options")


SCRIPT = "import xllamacpp; print(*[device['type'].name for device in xllamacpp.get_device_info()])"
ALL_FEATURES = (
    "import xllamacpp; print(xllamacpp.get_system_info().replace('\\n', ' ')); "
    "print(*[device['name'] for device in xllamacpp.get_device_info()])"
)
SECONDS = 30.0
ON_CPU = ("CPU", "ACCEL")  # the ends of the names of ggml_backend_dev_type that are no GPU


@cache
def features_of(python: str) -> tuple[str, ...]:
    """Return the features of the llama.cpp of ``python``, as a worker announces them. Takes 0.3 s, once."""
    done = subprocess.run([python, "-c", ALL_FEATURES], capture_output=True, text=True, timeout=SECONDS, check=False)  # noqa: S603
    from modelhost.engines.llamacpp.features import features_in  # noqa: PLC0415 (rarely needed, and starts wait)

    info, _, devices = done.stdout.strip().partition("\n")
    return features_in(info, devices.split())


@cache
def library_uses_gpus(python: str) -> bool:
    """Return whether the llama.cpp of ``python`` finds a GPU. Checked once, in a process of its own: 0.3 s."""
    done = subprocess.run([python, "-c", SCRIPT], capture_output=True, text=True, timeout=SECONDS, check=False)  # noqa: S603
    return any(not name.endswith(ON_CPU) for name in done.stdout.split())


def server_uses_gpus(path: str, env: Mapping[str, str]) -> bool:
    """Return whether the ``llama-server`` at ``path`` finds a GPU, with ``env`` besides the host's environment.

    Checked once for each state of the file: 0.1 to 1 s.

    Raises:
        ConfigError: it cannot be started.
    """
    return _server_uses_gpus(path, Path(path).stat().st_mtime_ns, tuple(sorted(env.items())))


@cache
def _server_uses_gpus(path: str, _: int, env: tuple[tuple[str, str], ...]) -> bool:
    try:
        return lists_gpus(output_of(path, "--list-devices", env={**current(), **dict(env)}))
    except NotAServerError as error:
        raise ConfigError(f'engine option "server": {error}', param="engine_options") from error
