"""The engines by name."""

from collections.abc import Mapping

from modelhost.engines.base import Engine
from modelhost.engines.llamacpp import LlamaCpp
from modelhost.engines.scripted import Scripted

ENGINES: Mapping[str, Engine] = {engine.name: engine for engine in (LlamaCpp(), Scripted())}
