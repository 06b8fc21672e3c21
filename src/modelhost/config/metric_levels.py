"""The setting ``metrics_history``: how finely metrics are kept for how long."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

_PART: Final = re.compile(r"(\d+)([smhd])/(\d+)([smhd])", re.ASCII)
LONGEST_SECONDS: Final = 3650 * 86_400
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricLevel:
    """Intervals of ``step_seconds``, kept for ``keep_seconds``."""

    step_seconds: int
    keep_seconds: int


def parse_levels(text: str) -> tuple[MetricLevel, ...]:
    """Return the levels of ``text``, such as ``1s/10m,10s/6h``.

    Raises:
        ValueError: it has another form, or a level that cannot be made of the one before it; the message ends a
            sentence.
    """
    levels: list[MetricLevel] = []
    for part in text.replace(" ", "").split(","):
        found = _PART.fullmatch(part)
        if found is None:
            raise ValueError(f'expected intervals and how long they are kept, such as 1s/10m,1m/7d, not "{part}"')
        step, keep = int(found[1]) * _SECONDS[found[2]], int(found[3]) * _SECONDS[found[4]]
        if step < 1 or keep < 2 * step:
            raise ValueError(f"{part} keeps fewer than two intervals")
        if keep > LONGEST_SECONDS:
            raise ValueError(f"{part} is kept for longer than {LONGEST_SECONDS // 86_400} days")
        if levels and keep < levels[-1].keep_seconds:
            raise ValueError(f"{part} is kept for a shorter time than the level before it")
        if levels and (step <= levels[-1].step_seconds or step % levels[-1].step_seconds):
            raise ValueError(f"the interval of {part} has to be a multiple of the one before it")
        if levels and levels[-1].keep_seconds < 2 * step:
            raise ValueError(f"{part} is made of the level before it, which is not kept for two such intervals")
        levels.append(MetricLevel(step_seconds=step, keep_seconds=keep))
    return tuple(levels)


def _checked(text: Any) -> Any:
    try:
        parse_levels(text)
    except ValueError as error:
        raise PydanticCustomError("metric_levels", "{reason}", {"reason": str(error)}) from None
    return text


MetricLevels = Annotated[str, AfterValidator(_checked)]
