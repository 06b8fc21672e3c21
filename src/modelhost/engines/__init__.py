"""The engines by name.

Each is imported when it is first asked for: a host has a model for one or two of them, and a worker process, which runs
a module of this package, needs none.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from modelhost.engines.base import Engine

PLACES: Final[Mapping[str, str]] = {
    "llamacpp": "modelhost.engines.llamacpp.engine:LlamaCpp",
    "mlx": "modelhost.engines.mlx.engine:MLX",
    "transformers": "modelhost.engines.transformers.engine:TRANSFORMERS",
    "vllm": "modelhost.engines.vllm.engine:Vllm",
    "mistralrs": "modelhost.engines.mistralrs.engine:MistralRs",
    "remote": "modelhost.engines.remote.engine:Remote",
    "scripted": "modelhost.engines.scripted.engine:Scripted",
}


class _Engines(Mapping[str, "Engine"]):
    def __getitem__(self, name: str) -> Engine:
        return _engine(name)

    def __contains__(self, name: object) -> bool:
        return name in PLACES

    def __iter__(self) -> Iterator[str]:
        return iter(PLACES)

    def __len__(self) -> int:
        return len(PLACES)


@cache
def _engine(name: str) -> Engine:
    found = pkgutil.resolve_name(PLACES[name])
    engine: Engine = found() if isinstance(found, type) else found
    return engine


ENGINES: Final[Mapping[str, Engine]] = _Engines()
