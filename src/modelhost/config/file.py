"""The configuration file: finding it, reading its settings, and default files of settings that name a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from modelhost.config import llm_server
from modelhost.config.checks import suggestion
from modelhost.config.document import parse, read_content
from modelhost.config.environment import CONFIG_VARIABLE
from modelhost.config.fields import SETTINGS, GivenValue, Origin, SourceValues
from modelhost.config.paths import expand_home, is_file_or_link
from modelhost.errors import ConfigError

DEFAULT_FILES: Final[Mapping[str, Sequence[str]]] = {
    "models_config": ("models.yaml", "models.yml", "models.json"),
    "mcp_config": ("mcp.json",),
}
"""The default names of the files that these settings name."""


def default_file(key: str, cwd: Path) -> Path | None:
    """Return the default file of the setting ``key`` in ``cwd``, relative to ``cwd``.

    Raises:
        ConfigError: there are files under several default names.
    """
    return _only_one(DEFAULT_FILES[key], cwd, SETTINGS[key].flags[0])


def _only_one(names: Iterable[str], cwd: Path, flag: str) -> Path | None:
    present = [name for name in names if is_file_or_link(cwd / name)]
    if len(present) > 1:
        raise ConfigError(f"{' and '.join(present)} are both here; keep one, or name one with {flag}")
    return Path(present[0]) if present else None


def default_files_in(cwd: Path, keys: Iterable[str]) -> Iterator[GivenValue]:
    """Yield the settings of ``keys`` whose default file exists; raises as :func:`default_file` does."""
    for key in keys:
        file = default_file(key, cwd)
        if file is not None:
            name = str(file)
            origin = Origin(kind="default file", name=name)
            yield GivenValue(setting=SETTINGS[key], value=name, origin=origin, label=name)


DEFAULT_NAMES: Final = ("modelhost.yaml", "modelhost.yml", "modelhost.json")
EXAMPLE_LINE: Final = "port: 8000"
NO_VARIABLES: Final[Mapping[str, str]] = {}


def find(
    config_path: Path | None, *, environ: Mapping[str, str], cwd: Path, is_llm_server: bool = False
) -> Path | None:
    """Return the file to read: the named one, that of ``MODELHOST_CONFIG``, or one with a default name in ``cwd``.

    With ``is_llm_server`` the default name is that of LLM-Server, and the file must exist.

    Raises:
        ConfigError: the named file does not exist, or there are files under several default names.
    """
    variable = environ.get(CONFIG_VARIABLE, "").strip()
    if config_path is not None or variable:
        named, by = (config_path, "--config") if config_path is not None else (Path(variable), CONFIG_VARIABLE)
        if not is_file_or_link(cwd / expand_home(named)):
            raise ConfigError(f"{by}: there is no file {named}")
        return named
    if is_llm_server:
        if not is_file_or_link(cwd / llm_server.DEFAULT_NAME):
            raise ConfigError(f"--llm-server: there is no {llm_server.DEFAULT_NAME} here; name the file with --config")
        return Path(llm_server.DEFAULT_NAME)
    return _only_one(DEFAULT_NAMES, cwd, "--config")


def read(
    path: Path, *, cwd: Path, environ: Mapping[str, str] = NO_VARIABLES, is_llm_server: bool = False
) -> SourceValues:
    """Read the settings of the file at ``path``; failures to read or parse it are among the problems.

    A file of LLM-Server is recognized by its keys, or forced by ``is_llm_server``; its ``${VAR}`` come from
    ``environ`` first.
    """
    try:
        content = parse(read_content(cwd / expand_home(path)), path, example=EXAMPLE_LINE)
    except ValueError as error:
        return SourceValues(problems=(f"{path}: {error}",))
    if is_llm_server or llm_server.is_llm_server_file(content):
        directory = (cwd / expand_home(path)).parent
        return llm_server.read(content, path, directory=directory, environ=environ)
    given, problems = [], []
    for key, value in content.items():
        if key in SETTINGS:
            given.append(_given(path, str(key), value))
        else:
            problems.append(f'{path}: unknown key "{key}"{suggestion(str(key), SETTINGS)}')
    return SourceValues(given=tuple(given), problems=tuple(problems))


def _given(path: Path, key: str, value: Any) -> GivenValue:
    setting = SETTINGS[key]
    if setting.kind == "list" and isinstance(value, str | list):
        value = (value,) if isinstance(value, str) else tuple(value)
    return GivenValue(
        setting=setting, value=value, origin=Origin(kind="file", name=str(path)), label=f'{path}: "{key}"'
    )
