"""The table of settings, from which flags, environment variables, file keys and the reference page are made.

Also: the values that sources give and their origins, parsing of text values, display of values, and secrets.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Union, cast, get_args, get_origin
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from modelhost.config.settings import Settings
from modelhost.config.value_types import BOOLEANS

Kind = Literal["text", "integer", "number", "boolean", "choice", "list", "mapping"]

ENVIRONMENT_PREFIX: Final = "MODELHOST_"

_SCALARS: Final[Mapping[Any, Kind]] = {str: "text", SecretStr: "text", int: "integer", float: "number", bool: "boolean"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One field of ``Settings`` with all its names."""

    key: str
    kind: Kind
    choices: tuple[str, ...]
    default: Any
    description: str
    panel: str
    flags: tuple[str, ...]
    is_secret: bool

    @property
    def environment(self) -> str:
        """The environment variable, such as ``MODELHOST_PORT``."""
        return ENVIRONMENT_PREFIX + self.key.upper()

    @property
    def type_name(self) -> str:
        """The type as the reference page and the help show it."""
        words = {"list": "list of text", "mapping": "key=value pairs", "boolean": "true or false"}
        return " | ".join(self.choices) if self.choices else words.get(self.kind, self.kind)


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) not in (Union, types.UnionType):
        return annotation
    (inner,) = (part for part in get_args(annotation) if part is not type(None))
    return inner


def _plain(annotation: Any) -> Any:
    inner = _without_none(annotation)
    return get_args(inner)[0] if hasattr(inner, "__metadata__") else inner


def _kind_of(annotation: Any) -> Kind:
    origin = get_origin(annotation)
    if origin is Literal:
        return "choice"
    if origin is tuple:
        return "list"
    return "mapping" if origin is dict else _SCALARS[annotation]


def _setting(key: str, field: FieldInfo) -> Setting:
    annotation = _plain(field.annotation)
    kind = _kind_of(annotation)
    extra = cast("Mapping[str, Any]", field.json_schema_extra or {})
    return Setting(
        key=key,
        kind=kind,
        choices=get_args(annotation) if kind == "choice" else (),
        default=field.get_default(call_default_factory=True),
        description=field.description or "",
        panel=extra.get("panel", "Other"),
        flags=tuple(extra.get("flags", ["--" + key.replace("_", "-")])),
        is_secret=any(_plain(inner) is SecretStr for inner in (annotation, *get_args(annotation))),
    )


SETTINGS: Final[Mapping[str, Setting]] = {key: _setting(key, field) for key, field in Settings.model_fields.items()}

OriginKind = Literal["default", "default file", "file", ".env", "environment", "flag"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a value comes from; ``name`` is the file's path, the variable or the flag, and empty for a default.

    ``.env`` is the file of that name in the working directory. ``default file``: the value itself is a file that was
    found under its usual name.
    """

    kind: OriginKind
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".rstrip()


DEFAULT = Origin(kind="default")


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenValue:
    """A value from a source, of its Python type but not validated yet. ``label`` names it in messages."""

    setting: Setting
    value: Any
    origin: Origin
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceValues:
    """The values of one source, with problems that make the configuration invalid, and warnings that do not."""

    given: tuple[GivenValue, ...] = ()
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    takes_default_files: bool = True
    """Whether default files are used besides (:mod:`modelhost.config.file`)."""


def merge(readings: Iterable[SourceValues]) -> SourceValues:
    """Merge the values of several sources in their order; a later value of the same setting wins."""
    parts = list(readings)
    return SourceValues(
        given=tuple(given for part in parts for given in part.given),
        problems=tuple(problem for part in parts for problem in part.problems),
        warnings=tuple(warning for part in parts for warning in part.warnings),
        takes_default_files=all(part.takes_default_files for part in parts),
    )


_CONVERTERS: Final[Mapping[Kind, Callable[[str], Any]]] = {
    "integer": int,
    "number": float,
    "boolean": lambda text: BOOLEANS[text.strip().lower()],
}


def parse_scalar(setting: Setting, text: str) -> Any:
    """Parse an integer, number or boolean; return ``text`` itself if that fails or the setting takes text."""
    convert = _CONVERTERS.get(setting.kind)
    if convert is None:
        return text
    try:
        return convert(text)
    except (KeyError, ValueError):
        return text


def parse_variable(setting: Setting, text: str) -> Any:
    """Parse the value of an environment variable: lists as ``a,b`` or JSON, mappings as ``k=v,k=v`` or JSON.

    Raises:
        ValueError: invalid JSON, or a pair without ``=``; the message ends a sentence.
    """
    if setting.kind == "list":
        return tuple(_json(text)) if text.lstrip().startswith("[") else tuple(_split(text))
    if setting.kind == "mapping":
        return _json(text) if text.lstrip().startswith("{") else _pairs_of(setting, text)
    return parse_scalar(setting, text)


def _pairs_of(setting: Setting, text: str) -> dict[str, str]:
    try:
        return parse_pairs(_split(text))
    except ValueError:
        if setting.is_secret:
            raise ValueError("expected key=value") from None
        raise


def parse_pairs(items: Iterable[str]) -> dict[str, str]:
    """Parse ``["a=1", "b=2"]`` as a mapping.

    Raises:
        ValueError: an item has no ``=``; the message ends a sentence.
    """
    found: dict[str, str] = {}
    for item in items:
        key, separator, value = item.partition("=")
        if not separator or not key.strip():
            raise ValueError(f'expected key=value, got "{item}"')
        found[key.strip()] = value.strip()
    return found


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"broken JSON: {error.msg} at character {error.pos + 1}") from error
    except RecursionError:
        raise ValueError("broken JSON: nested too deep") from None


MASK = "********"


def masked(value: Any) -> Any:
    """Return ``value`` as JSON can hold it, with each secret masked, so that their number still shows."""
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, tuple):
        return [masked(item) for item in value]
    if isinstance(value, dict):
        return {key: masked(item) for key, item in value.items()}
    return value


def display_text(value: Any) -> str:
    """Format ``value`` on one line, with a dash for ``None`` and for an empty one."""
    if value is None or value in ((), {}):
        return "-"
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, tuple):
        return ", ".join(str(masked(item)) for item in value)
    if isinstance(value, dict | bool):
        return json.dumps(masked(value), ensure_ascii=False)
    return f"{value:g}" if isinstance(value, float) else str(value)


def secrets_in(settings: Settings) -> Iterator[str]:
    """Yield every secret value, and also the password inside a URL."""
    for key, setting in SETTINGS.items():
        if setting.is_secret:
            for secret in _secrets_of(getattr(settings, key)):
                yield secret
                if password := _password_in(secret):
                    yield from (password, unquote(password))


def _password_in(secret: str) -> str | None:
    try:
        return urlsplit(secret).password if "://" in secret else None
    except ValueError:  # it resembles a URL but is none
        return None


def _secrets_of(value: Any) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, tuple | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _secrets_of(each)
