"""The chat templates that come with modelhost, rendered as Hugging Face's libraries and our workers do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelhost.config.fields import SETTINGS
from modelhost.engines.launch import ModelSpec
from modelhost.engines.mistralrs.template import TemplateReader
from modelhost.engines.prompting import FOLDER, STOPS, bundled_template, prompt_config
from modelhost.engines.tool_calls.forms import FORMS, form_of_template
from modelhost.engines.vllm.families import reasoning_parser, tool_parser
from modelhost.engines.worker.template import ChatTemplate

ROOT = Path(__file__).parents[3]
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}
USER, ANSWER = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}
TALK = [{"role": "system", "content": "Be kind."}, USER, ANSWER, {"role": "user", "content": "More"}]
TALKS = {
    "alpaca": "Be kind.\n\n### Instruction:\nHi\n\n### Response:\nYo\n\n### Instruction:\nMore\n\n### Response:\n",
    "chatml": "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
    "<|im_start|>assistant\nYo<|im_end|>\n<|im_start|>user\nMore<|im_end|>\n<|im_start|>assistant\n",
    "gemma": "<start_of_turn>user\nBe kind.\n\nHi<end_of_turn>\n<start_of_turn>model\nYo<end_of_turn>\n"
    "<start_of_turn>user\nMore<end_of_turn>\n<start_of_turn>model\n",
    "llama2": "[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nHi [/INST] Yo </s><s>[INST] More [/INST]",
    "llama3": "<|start_header_id|>system<|end_header_id|>\n\nBe kind.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nYo<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nMore<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    "mistral": "[INST] Be kind.\n\nHi[/INST] Yo</s>[INST] More[/INST]",
    "phi3": "<|system|>\nBe kind.<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\nYo<|end|>\n<|user|>\nMore<|end|>\n"
    "<|assistant|>\n",
    "phi4": "<|im_start|>system<|im_sep|>Be kind.<|im_end|><|im_start|>user<|im_sep|>Hi<|im_end|>"
    "<|im_start|>assistant<|im_sep|>Yo<|im_end|><|im_start|>user<|im_sep|>More<|im_end|><|im_start|>assistant<|im_sep|>",
    "plain": "system: Be kind.\nuser: Hi\nassistant: Yo\nuser: More\nassistant:",
    "vicuna": "Be kind. USER: Hi ASSISTANT: Yo</s>USER: More ASSISTANT:",
    "zephyr": "<|system|>\nBe kind.</s>\n<|user|>\nHi</s>\n<|assistant|>\nYo</s>\n<|user|>\nMore</s>\n<|assistant|>\n",
}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {}}}}}
CALL = {"id": "a1B2c3D4e", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
CALLED = [
    USER,
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "a1B2c3D4e", "content": "two"},
]
SHOWN = '{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {}}}}}'
CALLS = {
    "chatml": "<|im_start|>assistant\n<tool_call>\n"
    '{"name": "add", "arguments": {"a": 1}}\n</tool_call><|im_end|>\n'
    "<|im_start|>user\n<tool_response>\ntwo\n</tool_response><|im_end|>\n<|im_start|>assistant\n",
    "llama3": '<|start_header_id|>assistant<|end_header_id|>\n\n{"name": "add", "parameters": {"a": 1}}<|eot_id|>'
    "<|start_header_id|>ipython<|end_header_id|>\n\ntwo<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    "mistral": '[TOOL_CALLS] [{"name": "add", "arguments": {"a": 1}, "id": "a1B2c3D4e"}]</s>'
    '[TOOL_RESULTS] {"content": "two", "call_id": "a1B2c3D4e"}[/TOOL_RESULTS]',
}


def rendered(name: str, messages: list[dict[str, Any]], **body: Any) -> str:
    reader = TemplateReader(bundled_template(name), SPECIAL)
    return ChatTemplate(reader, None, "m").render({"messages": messages, **body})


def test_each_of_them_is_known_documented_and_tested() -> None:
    assert {file.stem for file in FOLDER.iterdir()} == set(STOPS) == set(TALKS)
    assert list(STOPS) == sorted(STOPS)
    assert SETTINGS["chat_template"].description.endswith(f": {', '.join(STOPS)}.")
    page = (ROOT / "docs" / "serving-models.md").read_text("utf-8")
    assert [name for name in STOPS if f"`{name}`" not in page] == []


@pytest.mark.parametrize("name", TALKS)
def test_a_conversation_is_written_in_its_marks(name: str) -> None:
    text = rendered(name, TALK)
    assert text == TALKS[name]
    assert rendered(name, [{"role": "developer", "content": "Be kind."}, *TALK[1:]]) == text
    continued = rendered(name, [*TALK, {"role": "assistant", "content": "Well,"}], continue_final_message=True)
    assert continued.removeprefix(text).strip() == "Well,"


@pytest.mark.parametrize("name", TALKS)
def test_a_conversation_needs_no_instructions_of_the_system(name: str) -> None:
    text = rendered(name, TALK[1:])
    assert "Be kind." not in text
    assert text.endswith(TALKS[name].partition("Hi")[2])


@pytest.mark.parametrize("name", TALKS)
def test_an_answer_ends_where_the_next_turn_of_the_user_would_begin(name: str) -> None:
    spec = ModelSpec(name="m", chat_template=bundled_template(name))
    found = prompt_config(spec)
    assert found["chat_stops"] == STOPS[name]
    assert found["adds_special"]
    after = TALKS[name].partition("Yo")[2]
    assert any(stop in after.partition("More")[0] for stop in found["chat_stops"])


def test_another_template_has_no_stops() -> None:
    spec = ModelSpec(name="m", chat_template="{{ messages }}")
    assert prompt_config(spec) == {"chat_template": "{{ messages }}", "chat_stops": (), "adds_special": False}
    assert prompt_config(ModelSpec(name="m"))["chat_template"] is None


@pytest.mark.parametrize(
    ("name", "form", "parser"),
    [("chatml", "hermes", "hermes"), ("llama3", "llama3_json", "llama3_json"), ("mistral", "mistral_list", "mistral")],
)
def test_calls_of_tools_are_written_as_they_are_read(name: str, form: str, parser: str) -> None:
    text = rendered(name, CALLED, tools=[TOOL])
    assert text.endswith(CALLS[name])
    assert SHOWN in text
    assert form_of_template(bundled_template(name)) is FORMS[form]
    assert tool_parser("llama", bundled_template(name)) == parser
    assert reasoning_parser("qwen3", bundled_template(name)) is None


def test_several_calls_and_their_results_stand_together() -> None:
    calls = [{**CALL, "id": f"a1B2c3D4{number}"} for number in range(2)]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "two"} for call in calls]
    talk = [USER, {"role": "assistant", "content": "Well.", "tool_calls": calls}, *results]
    call = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
    result = "<tool_response>\ntwo\n</tool_response>"
    assert rendered("chatml", talk, tools=[TOOL]).endswith(
        f"<|im_start|>assistant\nWell.\n{call}\n{call}<|im_end|>\n<|im_start|>user\n{result}\n{result}<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
