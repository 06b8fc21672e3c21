"""The configuration file: where it is, its YAML or JSON, and the settings in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from modelhost.config.check import suggestion
from modelhost.config.environment import CONFIG_VARIABLE
from modelhost.config.fields import SETTINGS
from modelhost.config.origins import Given, Origin, Reading
from modelhost.errors import ConfigError

DEFAULT_NAMES: Final = ("modelhost.yaml", "modelhost.yml", "modelhost.json")


def find(config_path: Path | None, *, environ: Mapping[str, str], cwd: Path) -> Path | None:
    """The file to read: the named one, the one in ``MODELHOST_CONFIG``, or a default name in ``cwd``.

    Raises:
        ConfigError: the named file is not there, or several default names are.
    """
    variable = environ.get(CONFIG_VARIABLE, "").strip()
    if config_path is not None or variable:
        named, by = (config_path, "--config") if config_path is not None else (Path(variable), CONFIG_VARIABLE)
        if not (cwd / named.expanduser()).is_file():
            raise ConfigError(f"{by}: there is no file {named}")
        return named
    present = [name for name in DEFAULT_NAMES if (cwd / name).is_file()]
    if len(present) > 1:
        raise ConfigError(f"{' and '.join(present)} are both here; keep one, or name one with --config")
    return Path(present[0]) if present else None


def read(path: Path, *, cwd: Path) -> Reading:
    """The settings in the file at ``path``; a file that cannot be read or parsed is a problem of the reading."""
    try:
        content = _parse((cwd / path.expanduser()).read_text(encoding="utf-8"), is_json=path.suffix == ".json")
    except OSError as error:
        return Reading(problems=(f"{path}: {error.strerror}",))
    except UnicodeDecodeError:
        return Reading(problems=(f"{path}: not UTF-8 text",))
    except ValueError as error:
        return Reading(problems=(f"{path}: {error}",))
    given, problems = [], []
    for key, value in content.items():
        if key in SETTINGS:
            given.append(_given(path, str(key), value))
        else:
            problems.append(f'{path}: unknown key "{key}"{suggestion(str(key), SETTINGS)}')
    return Reading(given=tuple(given), problems=tuple(problems))


def _given(path: Path, key: str, value: Any) -> Given:
    setting = SETTINGS[key]
    if setting.kind == "list" and isinstance(value, str | list):
        value = (value,) if isinstance(value, str) else tuple(value)
    return Given(setting=setting, value=value, origin=Origin(kind="file", name=str(path)), label=f'{path}: "{key}"')


def _parse(text: str, *, is_json: bool) -> Mapping[Any, Any]:
    """The mapping that ``text`` holds; an empty text holds none.

    Raises:
        ValueError: not JSON or YAML, a key given twice, or not a mapping; the message is the end of a sentence.
    """
    try:
        content = json.loads(text, object_pairs_hook=_once) if is_json and text.strip() else _yaml(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}, column {error.colno}: {error.msg}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ValueError('expected keys and values, such as "port: 8000"')  # noqa: TRY004  (a ValueError by contract)
    return content


def _yaml(text: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  (_Loader is a SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ValueError(f"{place}{error.problem}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {error}") from error


def _once(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """The pairs as a mapping.

    Raises:
        ValueError: a key given twice, of which one would otherwise be lost in silence.
    """
    found: dict[Any, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f'"{key}" is given twice')
        found[key] = value
    return found


class _Loader(yaml.SafeLoader):
    """YAML that reads dates as text (a ``revision`` may look like one) and refuses a key given twice."""

    yaml_implicit_resolvers = {  # noqa: RUF012  (declared so by PyYAML)
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        _once([(key.value, value) for key, value in node.value if isinstance(key, yaml.ScalarNode)])
        return super().construct_mapping(node, deep=deep)
