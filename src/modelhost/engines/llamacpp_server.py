"""The ``llama-server`` that is to run models in place of modelhost's own llama.cpp, if one is named.

That is the engine option ``server`` of a model, or else ``LLAMA_SERVER`` in the environment of the host.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from modelhost.config.environment import SERVER_VARIABLE, current
from modelhost.config.home import at_home
from modelhost.engines.llamacpp_program import NoServerError, said_by, version_in
from modelhost.errors import ConfigError

OPTION: Final = "server"
NAME: Final = "llama-server"


def with_server(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the engine options with the program that is named, by its whole path; as they are if none is.

    An empty ``server`` among them is the library's own, whatever the environment names.

    Raises:
        ConfigError: it is no program.
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


def server_version() -> tuple[str, str] | None:
    """Return the version and the path of the ``llama-server`` that the environment names; ``None`` if it names none.

    Raises:
        ConfigError: it is no such program.
    """
    path = with_server({}).get(OPTION)
    if path is None:
        return None
    try:
        return f"{NAME} {version_in(said_by(path, '--version'), path)}", path
    except NoServerError as error:
        raise ConfigError(f"{SERVER_VARIABLE}: {error}", param="engine_options") from error


def _program(named: str, source: str) -> str:
    """Return the whole path of a program that is named by its path, or by its name alone.

    Raises:
        ConfigError: there is none, or it is none.
    """
    is_path = "/" in named or named.startswith("~")
    place = at_home(named) if is_path else named
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
