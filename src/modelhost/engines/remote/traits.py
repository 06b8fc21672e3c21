"""The traits of remote servers."""

from __future__ import annotations

from typing import Final

from modelhost.engines.capabilities import LISTED, Capabilities
from modelhost.engines.traits import TEXT, EngineTraits

TRAITS: Final = EngineTraits(
    name="remote",
    serves="server",
    capabilities=Capabilities(
        title="Remote server",
        reads="a base URL; the columns below are for another modelhost with llama.cpp",
        runs_on="depends on the server",
        uses_generation_config=False,
        contents=LISTED,
        unenforced=None,
    ),
    reads="URLs",
    can=(*TEXT, "embeddings"),
)
