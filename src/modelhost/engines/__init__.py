"""The engines by name.

Each is imported when it is first asked for: a worker process, which runs a module of this package, needs none of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from modelhost.engines.base import Engine


class _Engines(Mapping[str, "Engine"]):
    def __getitem__(self, name: str) -> Engine:
        return _engines()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_engines())

    def __len__(self) -> int:
        return len(_engines())


@cache
def _engines() -> Mapping[str, Engine]:
    from modelhost.engines.llamacpp import LlamaCpp  # noqa: PLC0415
    from modelhost.engines.mistralrs import MistralRs  # noqa: PLC0415
    from modelhost.engines.mlx import MLX  # noqa: PLC0415
    from modelhost.engines.remote import Remote  # noqa: PLC0415
    from modelhost.engines.scripted import Scripted  # noqa: PLC0415
    from modelhost.engines.transformers import TRANSFORMERS  # noqa: PLC0415
    from modelhost.engines.vllm import Vllm  # noqa: PLC0415

    engines: tuple[Engine, ...] = (LlamaCpp(), MLX, TRANSFORMERS, Vllm(), MistralRs(), Remote(), Scripted())
    return {engine.name: engine for engine in engines}


ENGINES: Final[Mapping[str, Engine]] = _Engines()
