"""The traits of remote servers."""

from __future__ import annotations

from typing import Final

from modelhost.engines.capabilities import LISTED, Capabilities
from modelhost.engines.traits import TEXT, EngineTraits

TRAITS: Final = EngineTraits(
    name="remote",
    serves="server",
    capabilities=Capabilities(
        title="A server elsewhere",
        reads="a base URL; below, that of another modelhost with llama.cpp",
        runs_on="whatever the server runs on",
        uses_generation_config=False,
        contents=LISTED,
        unenforced=None,
    ),
    reads="URLs",
    can=(*TEXT, "embeddings"),
)
