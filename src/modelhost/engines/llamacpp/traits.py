"""The traits of llama.cpp."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from modelhost.engines.capabilities import Capabilities
from modelhost.engines.traits import TEXT, BetterBuild, EngineFacts, EngineTraits, GpuSupport, Installation
from modelhost.errors import ConfigError


class _Builds:
    """Imports what it needs when it needs it: starts wait for that, and few machines have a build."""

    def why_unused(self, data_dir: Path) -> str | None:
        from modelhost.engines.llamacpp.record import why_unused  # noqa: PLC0415 (3 ms)

        return why_unused(data_dir)

    def described(self, facts: EngineFacts, data_dir: Path) -> EngineFacts:
        from modelhost.engines.llamacpp.record import read_record  # noqa: PLC0415 (as above)

        record = read_record(data_dir)
        assert record is not None  # or the build would not be used
        return replace(
            facts,
            build=record.build,
            has_llguidance=record.has_llguidance,
            features=record.features,
            factors=dict(record.factors),
        )

    def replaced(self, facts: EngineFacts) -> EngineFacts | None:
        from modelhost.engines.llamacpp.installation import server_version  # noqa: PLC0415 (as above)

        try:
            found = server_version()
        except ConfigError as error:
            return replace(facts, is_installed=False, why_not=error.message)
        return None if found is None else replace(facts, is_installed=True, version=found[0], location=found[1])

    def packaged(self, facts: EngineFacts) -> EngineFacts | None:
        from modelhost.engines.llamacpp.installation import PACKAGED, packaged_server  # noqa: PLC0415 (as above)

        if (path := packaged_server()) is None:
            return None
        return replace(facts, is_installed=True, version=version(PACKAGED), location=path, build="packaged")

    def better(self, gpu: Any, features: Collection[str], *, is_built: bool) -> BetterBuild | None:
        from modelhost.engines.llamacpp.machine import faster_build  # noqa: PLC0415 (as above)

        return faster_build(gpu, features, is_built=is_built)

    def advised(self, facts: EngineFacts, gpu: Any) -> EngineFacts:
        from modelhost.engines.llamacpp.machine import advised  # noqa: PLC0415 (as above)

        return advised(facts, gpu)


TRAITS: Final = EngineTraits(
    name="llamacpp",
    formats=frozenset({"gguf"}),
    best_on=frozenset({"apple_silicon", "cuda", "other"}),
    capabilities=Capabilities(
        title="llama.cpp",
        reads="GGUF",
        runs_on="Linux, macOS; CPU, CUDA, Metal, Vulkan",
        differs={"forced_call": "host", "echo": "host", "prompt_logprobs": "host"},
        uses_generation_config=False,
    ),
    reads="GGUF",
    can=(*TEXT, "embeddings", "rerank"),
    installation=Installation(modules=("xllamacpp",), distribution="xllamacpp", builds=_Builds()),
    gpu=GpuSupport(
        builds=frozenset({"cuda", "hip", "vulkan"}),
        install_command="modelhost engines install llamacpp --build {build}",
        has_layers_placed=True,
    ),
    adapters="gguf",
    has_every_core=True,
    has_vision_file=True,
    unknown_statements=frozenset({"autoescape", "block", "print", "raw", "with"}),
)
