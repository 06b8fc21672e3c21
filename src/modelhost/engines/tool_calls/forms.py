"""The table of forms in which models write calls, and how to recognise them by the chat template.

The names are those of vLLM's parsers (https://docs.vllm.ai/en/latest/features/tool_calling.html).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from modelhost.engines.tool_calls.calls import CallForm
from modelhost.engines.tool_calls.channels import ANALYSIS, ChannelForm
from modelhost.engines.tool_calls.gemma import GemmaForm
from modelhost.engines.tool_calls.objects import Keys, ObjectForm
from modelhost.engines.tool_calls.python import PythonForm
from modelhost.engines.tool_calls.tagged import TaggedForm

AUTO: Final = "auto"
_CALLS, _CALLS_END = "<\uff5ctool\u2581calls\u2581begin\uff5c>", "<\uff5ctool\u2581calls\u2581end\uff5c>"
_CALL, _CALL_END = "<\uff5ctool\u2581call\u2581begin\uff5c>", "<\uff5ctool\u2581call\u2581end\uff5c>"
_SEP = "<\uff5ctool\u2581sep\uff5c>"
_KIMI, _KIMI_END = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"
_KIMI_CALL, _KIMI_SEP, _KIMI_CALL_END = "<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"
_LLAMA_JSON: Final = '{"name": function name, "parameters":'
_MISTRAL_HEADER: Final = r"\s*(?P<name>[\w.-]+)\s*(?:\[CALL_ID\]\s*\w+\s*)?\[ARGS\]\s*(?=\{)"

_KIMI_HEADER: Final = (
    rf"\s*{re.escape(_KIMI_CALL)}\s*(?:functions\.)?(?P<name>[^\s<:]+)(?::\d+)?\s*{re.escape(_KIMI_SEP)}\s*(?=\{{)"
)
_ACTION, _ACTION_END = "<|START_ACTION|>", "<|END_ACTION|>"

HERMES: Final = ObjectForm(opening="<tool_call>", closing="</tool_call>", shape="<tool_call>\n{call}\n</tool_call>")
FORMS: Final[Mapping[str, CallForm]] = {
    "hermes": HERMES,
    "llama3_json": ObjectForm(
        opening="<|python_tag|>", shape="{call}", keys=Keys(arguments="parameters"), is_bare=True
    ),
    "llama4_json": ObjectForm(
        opening="<|python_start|>", shape="{call}", keys=Keys(arguments="parameters"), is_bare=True
    ),
    "mistral_list": ObjectForm(
        opening="[TOOL_CALLS]",
        shape="[TOOL_CALLS] [{call}]",
        header=_MISTRAL_HEADER,
        inner=("[ARGS]", "[CALL_ID]"),
        has_short_ids=True,
    ),
    "mistral": ObjectForm(
        opening="[TOOL_CALLS]",
        shape="[TOOL_CALLS]{name}[ARGS]{arguments}",
        header=_MISTRAL_HEADER,
        inner=("[ARGS]", "[CALL_ID]"),
        has_short_ids=True,
    ),
    "phi4_mini_json": ObjectForm(
        opening="<|tool_call|>", closing="<|/tool_call|>", shape="<|tool_call|>{call}<|/tool_call|>"
    ),
    "granite": ObjectForm(opening="<|tool_call|>", shape="<|tool_call|>[{call}]"),
    "nemotron_json": ObjectForm(opening="<TOOLCALL>", closing="</TOOLCALL>", shape="<TOOLCALL>[{call}]</TOOLCALL>"),
    "deepseek_v3": ObjectForm(
        opening=_CALLS,
        closing=_CALLS_END,
        shape=f"{_CALLS}{_CALL}function{_SEP}{{name}}\n```json\n{{arguments}}\n```{_CALL_END}{_CALLS_END}",
        header=rf"\s*{_CALL}\s*function{_SEP}\s*(?P<name>[^\s<]+)\s*```json\s*(?=\{{)",
        again=_CALL,
        inner=(_CALL, _SEP, _CALL_END),
    ),
    "deepseek_v31": ObjectForm(
        opening=_CALLS,
        closing=_CALLS_END,
        shape=f"{_CALLS}{_CALL}{{name}}{_SEP}{{arguments}}{_CALL_END}{_CALLS_END}",
        header=rf"\s*{_CALL}\s*(?P<name>[^\s<]+)\s*{_SEP}\s*(?=\{{)",
        again=_CALL,
        inner=(_CALL, _SEP, _CALL_END),
    ),
    # https://github.com/MoonshotAI/Kimi-K2/blob/main/docs/tool_call_guidance.md
    "kimi_k2": ObjectForm(
        opening=_KIMI,
        closing=_KIMI_END,
        shape=f"{_KIMI}{_KIMI_CALL}functions.{{name}}:{{number}}{_KIMI_SEP}{{arguments}}{_KIMI_CALL_END}{_KIMI_END}",
        header=_KIMI_HEADER,
        again=_KIMI_CALL,
        inner=(_KIMI_CALL, _KIMI_SEP, _KIMI_CALL_END),
    ),
    "cohere_command3": ObjectForm(
        opening=_ACTION,
        closing=_ACTION_END,
        shape=f"{_ACTION}[\n    {{call}}\n]{_ACTION_END}",
        keys=Keys(name="tool_name", arguments="parameters", number="tool_call_id"),
    ),
    "qwen3_coder": TaggedForm(
        opening="<tool_call>",
        closing="</tool_call>",
        head="\n<function={name}>\n",
        key="<parameter={key}>\n",
        value_end="\n</parameter>\n",
        end="</function>\n",
        has_lines=True,
        begins_with_head=True,
    ),
    "seed_oss": TaggedForm(
        opening="<seed:tool_call>",
        closing="</seed:tool_call>",
        head="\n<function={name}>\n",
        key="<parameter={key}>",
        value_end="</parameter>\n",
        end="</function>\n",
    ),
    "minimax_m2": TaggedForm(
        opening="<minimax:tool_call>",
        closing="</minimax:tool_call>",
        head='\n<invoke name="{name}">\n',
        key='<parameter name="{key}">',
        value_end="</parameter>\n",
        end="</invoke>\n",
    ),
    "glm45": TaggedForm(
        opening="<tool_call>",
        closing="</tool_call>",
        head="{name}\n",
        key="<arg_key>{key}</arg_key>\n<arg_value>",
        value_end="</arg_value>\n",
        inner=("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
    ),
    "llama4_pythonic": PythonForm(opening="<|python_start|>", closing="<|python_end|>", is_bare=True),
    "lfm2": PythonForm(opening="<|tool_call_start|>", closing="<|tool_call_end|>"),
    "functiongemma": GemmaForm(opening="<start_function_call>", closing="<end_function_call>", quote="<escape>"),
    "gemma4": GemmaForm(opening="<|tool_call>", closing="<tool_call|>", quote='<|"|>'),
    "openai": ChannelForm(),
}
"""The supported forms of calls."""

MARKS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("openai", (ANALYSIS,)),
    ("functiongemma", ("<start_function_call>",)),
    ("kimi_k2", (_KIMI, _KIMI_SEP)),
    ("cohere_command3", (_ACTION, "tool_name")),
    ("gemma4", ("<|tool_call>", "<tool_call|>")),
    ("glm45", ("<arg_key>", "<tool_call>")),
    ("minimax_m2", ("<minimax:tool_call>",)),
    ("seed_oss", ("<seed:tool_call>",)),
    ("qwen3_coder", ("<tool_call>", "<function=", "<parameter=")),
    ("deepseek_v3", (_CALLS, "```json")),
    ("deepseek_v31", (_CALLS,)),
    ("lfm2", ("<|tool_call_start|>",)),
    ("lfm2", ("<|tool_list_start|>",)),
    ("llama4_json", ("<|python_start|>", _LLAMA_JSON)),
    ("llama4_pythonic", ("<|python_start|>",)),
    ("mistral", ("[TOOL_CALLS]", "[ARGS]")),
    ("mistral_list", ("[TOOL_CALLS]",)),
    ("nemotron_json", ("<TOOLCALL>",)),
    ("phi4_mini_json", ("<|tool_call|>", "<|/tool_call|>")),
    ("granite", ("<|tool_call|>",)),
    ("hermes", ("<tool_call>",)),
    ("llama3_json", (_LLAMA_JSON,)),
    ("llama3_json", ("<|python_tag|>", '"parameters"')),
    ("llama3_json", ("Environment: ipython", '"parameters"')),
)
"""Parts of the templates of models with a form, the more specific first."""
OTHER_MARKS: Final = ("<function=",)
"""Parts of templates that have marks of the table but other calls (user-defined functions of Llama)."""


def form_of_template(template: str) -> CallForm | None:
    """Return the form of the calls of a model with the chat template ``template``, if it is in the table."""
    found = next((name for name, marks in MARKS if all(mark in template for mark in marks)), None)
    if found is None or (found in {"hermes", "llama3_json"} and any(mark in template for mark in OTHER_MARKS)):
        return None
    return FORMS[found]
