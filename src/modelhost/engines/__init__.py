"""The engines by name: what each is like, and the engine itself.

Each is imported when it is first used: a host has a model for one or two of them, and a worker process, which runs a
module of this package, needs none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from modelhost.engines.base import Engine
    from modelhost.engines.traits import EngineTraits

T = TypeVar("T")


class _InPackages(Mapping[str, T], Generic[T]):
    """What the packages of all engines have in the same place: ``attribute`` of their module ``module``."""

    def __init__(self, module: str, attribute: str) -> None:
        self._module, self._attribute = module, attribute
        self._found: dict[str, T] = {}  # a request may look for an engine, and to import it again takes a microsecond

    def __getitem__(self, name: str) -> T:
        if name not in self._found:
            self._found[name] = getattr(import_module(f"{_packages()[name]}.{self._module}"), self._attribute)
        return self._found[name]

    def __contains__(self, name: object) -> bool:
        return name in _packages()

    def __iter__(self) -> Iterator[str]:
        return iter(_packages())

    def __len__(self) -> int:
        return len(_packages())


def _packages() -> Mapping[str, str]:
    from modelhost.config.engines import ENGINE_PACKAGES  # noqa: PLC0415 (worker processes import this module)

    return ENGINE_PACKAGES


TRAITS: Final[Mapping[str, EngineTraits]] = _InPackages("traits", "TRAITS")
ENGINES: Final[Mapping[str, Engine]] = _InPackages("engine", "ENGINE")
