"""The types of values in settings and requests.

Sizes of memory, booleans, literals, ids of sessions, paths, hosts, and the levels of the history of metrics.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field, SecretStr, TypeAdapter
from pydantic_core import PydanticCustomError

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "console", "json"]
SpecialTokens = Literal["text", "raw"]
SessionEviction = Literal["fifo", "lru"]
AllowedModels = Literal["registry", "hub", "any"]
MetricsAlias = Literal["vllm"]
KvCacheType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]


# pydantic takes bits too, and anything after the unit.
_AMOUNT: Final = re.compile(r"\d+(\.\d+)?\s*([kmgtp]i?)?b?", re.IGNORECASE | re.ASCII)
_SHARE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*%", re.ASCII)
_BYTES: Final = TypeAdapter(ByteSize)
SIZE_FORMS: Final = "a size such as 24GB, 24GiB, 24000000000 (bytes) or 80%"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """An amount of bytes, or a share (0 to 1) of the total; exactly one of the two is set."""

    amount_bytes: int | None = None
    share: float | None = None

    def of(self, total_bytes: int) -> int:
        """Return the size in bytes out of ``total_bytes``; a fixed amount may exceed that."""
        return self.amount_bytes if self.amount_bytes is not None else int(total_bytes * (self.share or 0.0))


def parse_size(text: str) -> Size:
    """Parse a size. ``GB`` and ``G`` are powers of 1000, ``GiB`` and ``Gi`` powers of 1024.

    Raises:
        ValueError: ``text`` is no size, or zero; the message ends a sentence.
    """
    stripped = text.strip()
    if found := _SHARE.fullmatch(stripped):
        percent = float(found[1])
        if 0 < percent <= 100:
            return Size(share=percent / 100)
        raise ValueError("expected a share above 0% and up to 100%")
    if _AMOUNT.fullmatch(stripped):
        unit = stripped if stripped[-1] in "bB0123456789" else f"{stripped}B"
        amount = int(_BYTES.validate_python(unit))
        if amount > 0:
            return Size(amount_bytes=amount)
        raise ValueError("expected more than nothing")
    raise ValueError(f"expected {SIZE_FORMS}")


def _as_text(value: Any) -> Any:
    """Turn a number of bytes, as files and programs may give it, into text."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:.0f}" if is_number and math.isfinite(value) else value


def checked_by(parse: Callable[[str], object], kind: str) -> AfterValidator:
    """Return a validator of text, secret or not, that ``parse`` takes; its ValueError is the message of the error."""

    def check(value: Any) -> Any:
        try:
            parse(value.get_secret_value() if isinstance(value, SecretStr) else value)
        except ValueError as error:
            raise PydanticCustomError(kind, "{reason}", {"reason": str(error)}) from error
        return value

    return AfterValidator(check)


SizeText = Annotated[str, Field(min_length=1), BeforeValidator(_as_text), checked_by(parse_size, "size")]
"""Text of a setting that :func:`parse_size` takes."""

BOOLEANS: Final[Mapping[str, bool]] = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


def _like(literal: object) -> BeforeValidator:
    def check(value: Any) -> Any:
        if isinstance(value, bool) is not isinstance(literal, bool):
            raise PydanticCustomError("literal_error", "Input should be {expected}", {"expected": str(literal)})
        return value

    return BeforeValidator(check)


LiteralOne = Annotated[Literal[1], _like(1)]
LiteralFalse = Annotated[Literal[False], _like(False)]

LONGEST_ID: Final = 256
"""In characters."""
WITHOUT_CONTROLS: Final = r"^[^\x00-\x1f\x7f-\x9f]*$"
"""As descriptions have it."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")

SessionId = Annotated[str, Field(min_length=1, max_length=LONGEST_ID)]
"""The id of an existing session; earlier versions accepted any text."""
NewSessionId = Annotated[SessionId, Field(json_schema_extra={"pattern": WITHOUT_CONTROLS})]
"""The id of a new session; the store refuses others."""


def is_session_id(text: str) -> bool:
    """Whether ``text`` is valid as the id of a new session."""
    return 1 <= len(text) <= LONGEST_ID and not _CONTROL.search(text)


def _named(value: Any) -> Any:
    """Convert a boolean, which this setting once was: whether the start of the host waits."""
    is_waiting = BOOLEANS.get(value.strip().lower()) if isinstance(value, str) else value
    if not isinstance(is_waiting, bool):
        return value
    return "ready" if is_waiting else "never"


WaitForTools = Annotated[Literal["never", "requests", "ready"], BeforeValidator(_named)]

_PATH: Final = re.compile(r"/[^?#{}\s]*")


def url_path(text: str) -> str:
    """Return ``text`` if it is a path.

    Raises:
        PydanticCustomError: it is not; the message ends a sentence.
    """
    if not _PATH.fullmatch(text):
        raise PydanticCustomError("url_path", "expected a path such as /ask")
    return text


def has_host(url: str) -> bool:
    """Whether ``url`` has a host, and a valid port if any."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def is_http_url(text: str) -> bool:
    return has_host(text) and urlsplit(text).scheme in {"http", "https"}


def http_url(text: str) -> str:
    """Return ``text`` if it is a URL for HTTP without a query; raises as :func:`host_name`."""
    if not is_http_url(text) or urlsplit(text).query or urlsplit(text).fragment:
        raise PydanticCustomError("http_url", "expected a URL such as http://127.0.0.1:4318")
    return text


def host_name(text: str) -> str:
    """Return ``text`` if it is a host, with or without a port.

    Raises:
        PydanticCustomError: it is not; the message ends a sentence.
    """
    if not has_host(f"//{text}") or urlsplit(f"//{text}").netloc != text or "@" in text:
        raise PydanticCustomError("host_name", "expected a host such as files.example.org or 10.1.2.3:9000")
    return text


UrlPath = Annotated[str, AfterValidator(url_path)]
HttpUrl = Annotated[str, AfterValidator(http_url)]
HostName = Annotated[str, AfterValidator(host_name)]


_LEVEL: Final = re.compile(r"(\d+)([smhd])/(\d+)([smhd])", re.ASCII)
LONGEST_KEPT_SECONDS: Final = 3650 * 86_400
_UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricLevel:
    """Intervals of ``step`` seconds, kept for ``keep`` seconds."""

    step: int
    keep: int


def parse_levels(text: str) -> tuple[MetricLevel, ...]:
    """Return the levels of ``text``, such as ``1s/10m,10s/6h``.

    Raises:
        ValueError: it has another form, or a level that cannot be made of the one before it; the message ends a
            sentence.
    """
    levels: list[MetricLevel] = []
    for part in text.replace(" ", "").split(","):
        found = _LEVEL.fullmatch(part)
        if found is None:
            raise ValueError(f'expected intervals and how long they are kept, such as 1s/10m,1m/7d, not "{part}"')
        step, keep = int(found[1]) * _UNIT_SECONDS[found[2]], int(found[3]) * _UNIT_SECONDS[found[4]]
        if step < 1 or keep < 2 * step:
            raise ValueError(f"{part} keeps fewer than two intervals")
        if keep > LONGEST_KEPT_SECONDS:
            raise ValueError(f"{part} is kept for longer than {LONGEST_KEPT_SECONDS // 86_400} days")
        if levels and keep < levels[-1].keep:
            raise ValueError(f"{part} is kept for a shorter time than the level before it")
        if levels and (step <= levels[-1].step or step % levels[-1].step):
            raise ValueError(f"the interval of {part} has to be a multiple of the one before it")
        if levels and levels[-1].keep < 2 * step:
            raise ValueError(f"{part} is made of the level before it, which is not kept for two such intervals")
        levels.append(MetricLevel(step=step, keep=keep))
    return tuple(levels)


MetricLevels = Annotated[str, checked_by(parse_levels, "metric_levels")]
