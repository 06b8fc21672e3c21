"""vLLM's parsers for the tool calls and the reasoning of a model, chosen by its chat template, then by its family.

The template has precedence, since it shows the form of calls that the model was trained on.
Names of parsers: https://docs.vllm.ai/en/latest/features/tool_calling.html and ``reasoning_outputs.html``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

AUTO: Final = "auto"
NONE: Final = "none"
TOOL_MARKS: Final[tuple[tuple[str, str], ...]] = (
    ("<function=", "qwen3_coder"),
    ("<arg_key>", "glm45"),
    ("<minimax:tool_call>", "minimax_m2"),
    ("<|tool_calls_section_begin|>", "kimi_k2"),
    ("<|python_start|>", "llama4_pythonic"),
    ("[TOOL_CALLS]", "mistral"),
    ("<tool_call>", "hermes"),
    ("<|python_tag|>", "llama3_json"),
    ("Environment: ipython", "llama3_json"),
)
"""Parts of templates, the more specific first."""
DEEPSEEK_CALLS: Final = "<\uff5ctool\u2581calls\u2581begin\uff5c>"
TOOL_FAMILIES: Final[Mapping[str, str]] = {
    "cohere2": "cohere_command3",
    "deepseek_v32": "deepseek_v32",
    "deepseek_v4": "deepseek_v4",
    "ernie4_5_moe": "ernie45",
    "gemma4": "gemma4",
    "glm4_moe": "glm45",
    "gpt_oss": "openai",
    "granite": "granite",
    "granitemoehybrid": "granite4",
    "hunyuan_v1_moe": "hunyuan_a13b",
    "internlm2": "internlm",
    "jamba": "jamba",
    "kimi_k2": "kimi_k2",
    "lfm2": "lfm2",
    "llama4": "llama4_pythonic",
    "minimax_m2": "minimax_m2",
    "mistral": "mistral",
    "mistral3": "mistral",
    "mixtral": "mistral",
    "olmo3": "olmo3",
    "phi3": "phi4_mini_json",
    "seed_oss": "seed_oss",
}
"""By ``model_type`` of ``config.json``."""
REASONING_FAMILIES: Final[Mapping[str, str]] = {
    "deepseek_v4": "deepseek_v4",
    "ernie4_5_moe": "ernie45",
    "gemma4": "gemma4",
    "glm4_moe": "glm45",
    "gpt_oss": "openai_gptoss",
    "hunyuan_v1_moe": "hunyuan_a13b",
    "kimi_k2": "kimi_k2",
    "minimax_m2": "minimax_m2",
    "olmo3": "olmo3",
    "qwen3": "qwen3",
    "qwen3_moe": "qwen3",
    "qwen3_next": "qwen3",
    "seed_oss": "seed_oss",
}
"""The parsers for families whose templates have markers of reasoning."""
MARKS_OF_THOUGHTS: Final = ("<think>", "</think>", "[THINK]", "<|channel|>", "<seed:think>", "thinking")


def tool_parser(family: str, template: str | None) -> str | None:
    """Return the parser of the calls of a model of ``family`` (its ``model_type``); ``None`` if it makes no calls."""
    if template is None or "tools" not in template:
        return None
    if DEEPSEEK_CALLS in template:
        return "deepseek_v3" if "```json" in template else "deepseek_v31"
    found = next((parser for mark, parser in TOOL_MARKS if mark in template), None)
    return found or TOOL_FAMILIES.get(family)


def reasoning_parser(family: str, template: str | None) -> str | None:
    """Return the parser of the reasoning of a model of ``family``; ``None`` if its template shows none."""
    if template is None or not any(mark in template for mark in MARKS_OF_THOUGHTS):
        return None
    if "[THINK]" in template:
        return "mistral"
    if DEEPSEEK_CALLS in template and "thinking" in template:
        return "deepseek_v3"
    # A model that opens its thoughts itself, or whose template opens them for it: as DeepSeek R1 does.
    return REASONING_FAMILIES.get(family) or ("deepseek_r1" if "<think>" in template else None)
