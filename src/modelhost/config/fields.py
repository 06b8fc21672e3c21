"""The settings as rows: what flags, environment variables, file keys and the reference page are made from."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Union, cast, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from modelhost.config.settings import Settings

Kind = Literal["text", "integer", "number", "boolean", "choice", "list", "mapping"]

ENVIRONMENT_PREFIX: Final = "MODELHOST_"

_SCALARS: Final[Mapping[Any, Kind]] = {str: "text", SecretStr: "text", int: "integer", float: "number", bool: "boolean"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One field of ``Settings`` with all of its names."""

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
        """The environment twin, such as ``MODELHOST_PORT``."""
        return ENVIRONMENT_PREFIX + self.key.upper()

    @property
    def type_name(self) -> str:
        """The type as the reference page and the help show it."""
        words = {"list": "list of text", "mapping": "key=value pairs", "boolean": "true or false"}
        return " | ".join(self.choices) if self.choices else words.get(self.kind, self.kind)


def _without_none(annotation: Any) -> Any:
    """``int`` for ``int | None``; any other annotation as it is."""
    if get_origin(annotation) not in (Union, types.UnionType):
        return annotation
    (inner,) = (part for part in get_args(annotation) if part is not type(None))
    return inner


def _plain(annotation: Any) -> Any:
    """The annotation without ``None`` around it and without the constraints of ``Annotated``."""
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


SETTINGS: Final[Mapping[str, Setting]] = types.MappingProxyType(
    {key: _setting(key, field) for key, field in Settings.model_fields.items()}
)
