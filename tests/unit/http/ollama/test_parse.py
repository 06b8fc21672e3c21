"""Requests of Ollama's API as requests of this host: options, thinking, formats, tools, raw prompts and infilling."""

from __future__ import annotations

from typing import Any

import pytest

from modelhost.engines import ENGINES
from modelhost.errors import InvalidRequest
from modelhost.exchange.messages import Message
from modelhost.exchange.requests import ChatRequest, CompletionRequest, Infill, OutputFormat, Sampling
from modelhost.http.ollama import bodies
from modelhost.http.ollama.options import engine_options, sampling_of
from modelhost.http.ollama.parse import chat_request, generate_request
from modelhost.http.validation import checked

Json = dict[str, Any]
SCHEMA: Json = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL: Json = {"type": "function", "function": {"name": "weather", "description": "Tells.", "parameters": SCHEMA}}
HELLO = [{"role": "user", "content": "Hi"}]
FREE_ENGINE = "mlx"
"""An engine that has to be asked to continue the last message, and that lacks some of llama.cpp's fields."""


def chat(engine: str = "llamacpp", **fields: Any) -> ChatRequest:
    return chat_request(checked(bodies.ChatRequest, {"messages": HELLO, **fields}), "m", ENGINES[engine])


def generate(engine: str = "llamacpp", **fields: Any) -> ChatRequest | CompletionRequest:
    return generate_request(checked(bodies.GenerateRequest, {"prompt": "Hi", **fields}), "m", ENGINES[engine])


def options(**values: Any) -> bodies.Options:
    return bodies.Options.model_validate(values)


def refusal(**fields: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        chat(**fields)
    return caught.value


# Chats.


def test_the_fields_of_a_chat() -> None:
    found = chat(logprobs=True, top_logprobs=3, session_id="anna", include_progress=True, mcp={"servers": ["files"]})
    assert (found.model, found.messages) == ("m", (Message(role="user", content="Hi"),))
    assert (found.logprobs, found.top_logprobs, found.session_id) == (True, 3, "anna")
    assert found.include_progress
    assert found.mcp is not None
    assert found.mcp.servers == {"files"}


@pytest.mark.parametrize(("given", "is_streamed"), [({}, True), ({"stream": None}, True), ({"stream": False}, False)])
def test_an_answer_is_a_stream_unless_the_client_declines(given: Json, *, is_streamed: bool) -> None:
    assert chat(**given).is_streamed is generate(**given).is_streamed is is_streamed


def test_null_is_as_good_as_nothing() -> None:
    names = bodies.ChatRequest.model_fields.keys() - {"messages"}
    assert chat(**dict.fromkeys(names)) == chat()
    names = bodies.GenerateRequest.model_fields.keys() - {"prompt"}
    assert generate(**dict.fromkeys(names)) == generate()
    assert chat(options=dict.fromkeys(bodies.Options.model_fields)) == chat()


def test_log_probabilities_of_others_alone_are_none() -> None:
    assert (chat(top_logprobs=3).logprobs, chat(top_logprobs=3).top_logprobs) == (False, None)


def test_tools_are_those_of_the_client_and_without_any_those_of_the_host() -> None:
    (tool,) = chat(tools=[TOOL]).tools or ()
    assert (tool.name, tool.description, tool.parameters) == ("weather", "Tells.", SCHEMA)
    assert chat(tools=[]).tools is chat().tools is None
    (bare,) = chat(tools=[{"function": {"name": "now"}}]).tools or ()
    assert (bare.name, bare.parameters) == ("now", None)


def test_a_choice_among_tools() -> None:
    assert (chat(tool_choice="required").tool_choice, chat(tool_choice="none").tool_choice) == ("required", "none")
    named = chat(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "weather"}})
    assert (named.tool_choice, named.named_tool) == (None, "weather")


@pytest.mark.parametrize(
    ("given", "output"),
    [
        (None, None),
        ("", None),
        ("json", OutputFormat(kind="json_object")),
        (SCHEMA, OutputFormat(kind="json_schema", schema=SCHEMA, extra={"name": "answer", "strict": True})),
    ],
)
def test_the_format_of_the_answer(given: Any, output: OutputFormat | None) -> None:
    assert chat(format=given).output == output
    prompt = generate(format=given)
    assert isinstance(prompt, ChatRequest)
    assert prompt.output == output


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        (None, {}),
        (True, {"chat_template_kwargs": {"enable_thinking": True}}),
        (False, {"chat_template_kwargs": {"enable_thinking": False}}),
        ("low", {"chat_template_kwargs": {"enable_thinking": True}, "reasoning_effort": "low"}),
        ("max", {"chat_template_kwargs": {"enable_thinking": True}, "reasoning_effort": "high"}),
    ],
)
def test_thinking_is_as_the_client_says_or_as_the_model_does(given: Any, fields: Json, notes: list[str]) -> None:
    assert dict(chat(think=given).extra) == fields
    assert notes == []


def test_what_an_engine_cannot_be_told_of_thinking_is_noted(notes: list[str]) -> None:
    engine = next(name for name, each in ENGINES.items() if "chat_template_kwargs" not in each.fields("chat"))
    assert not chat(engine, think=False).extra
    assert notes == ["ignored=think"]


def test_a_last_message_of_the_assistant_is_continued() -> None:
    begun = [*HELLO, {"role": "assistant", "content": "Hello"}]
    asked = {"continue_final_message": True, "add_generation_prompt": False}
    assert dict(chat(FREE_ENGINE, messages=begun).extra) == asked
    assert not chat(messages=begun).extra


def test_a_conversation_is_not_cut(notes: list[str]) -> None:
    chat(truncate=False, shift=False)
    assert notes == []
    chat(truncate=True, shift=True)
    assert notes == ["ignored=truncate", "ignored=shift"]


def test_unknown_fields_are_noted(notes: list[str]) -> None:
    chat(_debug_render_only=True, messages=[{"role": "user", "content": "Hi", "name": "anna"}])
    assert notes == ["ignored=_debug_render_only"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": "Hi"}, "messages"),
        ({"messages": [{"role": "robot"}]}, "messages[0].role"),
        ({"messages": [{"content": "Hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "images": [""]}]}, "messages[0].images[0]"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "a", "arguments": "{}"}}]}]},
            "messages[0].tool_calls[0].function.arguments",
        ),
        ({"options": []}, "options"),
        ({"options": {"temperature": "hot"}}, "options.temperature"),
        ({"options": {"seed": True}}, "options.seed"),
        ({"options": {"num_predict": "many"}}, "options.num_predict"),
        ({"options": {"stop": [1]}}, "options.stop[0]"),
        ({"options": {"use_mmap": 1}}, "options.use_mmap"),
        ({"think": "hard"}, "think"),
        ({"format": "xml"}, "format"),
        ({"keep_alive": {}}, "keep_alive"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"tools": [{"function": {}}]}, "tools[0].function.name"),
        ({"tool_choice": "any"}, "tool_choice"),
        ({"stream": "no"}, "stream"),
    ],
)
def test_a_wrong_value_is_refused_by_its_path(fields: Json, param: str) -> None:
    assert refusal(**fields).param == param


# Options.


def test_options_of_sampling() -> None:
    given = options(
        temperature=0.5, top_k=40.0, top_p=0.9, min_p=0.1, seed=7, stop=["a", "", "b"], num_predict=12.9,
        presence_penalty=1, frequency_penalty=-1,
    )  # fmt: skip
    assert sampling_of(given) == Sampling(
        temperature=0.5, top_k=40, top_p=0.9, min_p=0.1, seed=7, stop=("a", "b"), max_tokens=12,
        presence_penalty=1, frequency_penalty=-1,
    )  # fmt: skip
    assert sampling_of(options(stop="a")).stop == ("a",)
    assert sampling_of(options(stop="")) == sampling_of(None) == Sampling()


@pytest.mark.parametrize("limit", [0, -1, -2])
def test_a_limit_below_one_is_none(limit: int) -> None:
    assert sampling_of(options(num_predict=limit)).max_tokens is None


@pytest.mark.parametrize(("given", "seed"), [(-1, None), (0, 0), (42.0, 42), (2**60, 2**60)])
def test_a_negative_seed_is_a_random_one(given: float, seed: int | None) -> None:
    assert sampling_of(options(seed=given)).seed == seed


def test_a_window_of_the_whole_context_is_not_for_the_engine(notes: list[str]) -> None:
    assert engine_options(options(repeat_last_n=-1), ENGINES["llamacpp"], "chat") == {}
    assert notes == ["ignored=options.repeat_last_n"]


def test_options_of_the_engine_have_its_names(notes: list[str]) -> None:
    given = options(repeat_penalty=1.1, repeat_last_n=64.0, typical_p=0.7, mirostat=2, mirostat_tau=0.8, num_keep=4)
    assert engine_options(given, ENGINES["llamacpp"], "chat") == {
        "repeat_penalty": 1.1, "repeat_last_n": 64, "typical_p": 0.7, "mirostat": 2, "mirostat_tau": 0.8, "n_keep": 4,
    }  # fmt: skip
    assert notes == []


def test_options_that_the_engine_lacks_are_noted(notes: list[str]) -> None:
    given = options(repeat_penalty=1.1, mirostat=2)
    assert engine_options(given, ENGINES["vllm"], "chat") == {"repetition_penalty": 1.1}
    assert notes == ["ignored=options.mirostat"]


# Prompts.


def test_a_prompt_is_a_chat_of_one_message_without_tools() -> None:
    found = generate(system="Be brief.", images=["AAAA"], think=True)
    assert isinstance(found, ChatRequest)
    system, user = found.messages
    assert (system, user.role, user.text) == (Message(role="system", content="Be brief."), "user", "Hi")
    assert len(user.media) == 1
    assert found.tools == ()
    assert dict(found.extra) == {"chat_template_kwargs": {"enable_thinking": True}}


def test_a_raw_prompt_is_continued_as_it_is(notes: list[str]) -> None:
    found = generate(raw=True, options={"num_predict": 3, "repeat_penalty": 1.2}, think=True, images=["AAAA"])
    assert found == CompletionRequest(
        model="m",
        prompts=("Hi",),
        sampling=Sampling(max_tokens=3),
        extra={"repeat_penalty": 1.2},
        is_streamed=True,
    )
    assert notes == ["ignored=images", "ignored=think"]


def test_a_raw_prompt_has_neither_system_prompt_nor_template() -> None:
    for name in ("system", "template"):
        with pytest.raises(InvalidRequest) as caught:
            generate(raw=True, **{name: "Be brief."})
        assert caught.value.param == name


@pytest.mark.parametrize(("given", "constraint"), [("json", {"json_object": True}), (SCHEMA, {"json": SCHEMA})])
def test_the_format_of_a_raw_answer(given: Any, constraint: Json) -> None:
    found = generate(raw=True, format=given)
    assert dict(found.extra) == {"structured_outputs": constraint}
    assert found.constraint_field == "format"


def test_a_suffix_asks_for_what_is_before_it(notes: list[str]) -> None:
    found = generate(suffix="return", system="Be brief.")
    assert isinstance(found, CompletionRequest)
    assert (found.prompts, found.infill) == (("Hi",), Infill(suffix="return"))
    assert notes == ["ignored=system"]


def test_context_and_template_of_a_prompt_are_noted(notes: list[str]) -> None:
    generate(context=[1, 2], template="{{ .Prompt }}")
    assert notes == ["ignored=context", "ignored=template"]
    generate(context=[], template="")
    assert len(notes) == 2
