"""Conversations with calls as chat templates take them: the parts of real templates that are particular about it."""

from __future__ import annotations

from typing import Any

import pytest

from modelhost.engines.worker.asgi import ErrorResponse
from modelhost.engines.worker.template import ChatTemplate, thoughts_end
from tests.support.nano_hf import nano_tokenizer

LLAMA_3 = """
{%- for message in messages %}
    {%- if not (message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<' + message.role + '>' + message.content }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("This model only supports single tool-calls at once!") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<call>{"name": "' + tool_call.name + '", "parameters": ' }}{{- tool_call.arguments | tojson }}{{- "}" }}
    {%- else %}
        {{- '<tool>' + message.content }}
    {%- endif %}
{%- endfor %}"""
MISTRAL = """
{%- for message in messages %}
    {%- if message.tool_calls is defined %}
        {{- "[TOOL_CALLS] [" }}
        {%- for tool_call in message.tool_calls %}
            {%- if not tool_call.id is defined or tool_call.id|length != 9 %}
                {{- raise_exception("Tool call IDs should be alphanumeric strings with length 9!") }}
            {%- endif %}
            {{- (tool_call.function|tojson)[:-1] + ', "id": "' + tool_call.id + '"}' }}
        {%- endfor %}
        {{- "]" }}
    {%- elif message.role == 'tool' %}
        {{- '[TOOL_RESULTS] {"content": ' + message.content + ', "call_id": "' + message.tool_call_id + '"}' }}
    {%- else %}
        {{- '[INST]' + message.content }}
    {%- endif %}
{%- endfor %}"""
CODER = """
{%- for message in messages %}
    {%- for tool_call in message.tool_calls or [] %}
        {{- '<function=' + tool_call.function.name + '>' }}
        {%- for name, value in tool_call.function.arguments|items %}
            {{- '<parameter=' + name + '>' }}{{- value if value is string else value | tojson }}
        {%- endfor %}
    {%- endfor %}
    {{- message.content }}
{%- endfor %}"""
DEEPSEEK = """
{%- for message in messages %}
    {%- for tool in message['tool_calls'] or [] %}
        {{- tool['function']['name'] + '\\n```json\\n' + tool['function']['arguments'] + '\\n```' }}
    {%- endfor %}
    {{- message['content'] }}
{%- endfor %}"""
OF_PYTHON = "{% for m in messages %}{% for c in m.tool_calls or [] %}{{ c.function.arguments }}{% endfor %}{% endfor %}"
KIMI = """
{%- for message in messages %}
    {%- if message['role'] == 'tool' %}
        {{- '## Return of ' + message.tool_call_id + '|' + message.content }}
    {%- else %}
        {{- message.content }}
        {%- if message.get('tool_calls') %}
            {{- '<|tool_calls_section_begin|>' }}
            {%- for tool_call in message['tool_calls'] %}
                {{- '<|tool_call_begin|>' + tool_call['id'] + '<|tool_call_argument_begin|>' }}
                {{- tool_call['function']['arguments'] | tojson }}
            {%- endfor %}
        {%- endif %}
    {%- endif %}
{%- endfor %}"""
GPT_OSS = """
{%- for message in messages %}
    {%- if "tool_calls" in message %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- "<|start|>assistant to=functions." + tool_call.name + "<|channel|>commentary json<|message|>" }}
        {{- tool_call.arguments|tojson + "<|call|>" }}
    {%- else %}
        {{- "<|start|>" + message.role + "<|message|>" + message.content + "<|end|>" }}
    {%- endif %}
{%- endfor %}"""
COMMAND = "{% if tools %}<|START_ACTION|>{% endif %}{{ messages[0].content }}<|END_THINKING|>"
QUESTION = {"role": "user", "content": "Q"}


def _called(*calls: tuple[str, Any], content: str | None = None) -> dict[str, Any]:
    made = [
        {"id": number, "type": "function", "function": {"name": "add", "arguments": arguments}}
        for number, arguments in calls
    ]
    return {"role": "assistant", "content": content, "tool_calls": made}


def _result(number: str, content: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": number, "content": content}


def _rendered(template: str, *messages: dict[str, Any], **body: Any) -> str:
    return ChatTemplate(nano_tokenizer(), template, "nano").render({"messages": list(messages), **body})


def test_a_template_that_shows_one_call_at_once_gets_one_at_once() -> None:
    called = _called(("1", '{"a": 1}'), ("2", '{"a": 2}'), content="I add.")
    text = _rendered(LLAMA_3, QUESTION, called, _result("2", "two"), _result("1", "one"), QUESTION)
    two, one = (f'<call>{{"name": "add", "parameters": {{"a": {number}}}}}' for number in (2, 1))
    assert text == f"<user>Q{two}<tool>two{one}<tool>one<user>Q"


def test_calls_without_results_are_not_lost() -> None:
    text = _rendered(LLAMA_3, QUESTION, _called(("1", "{}"), ("2", "{}")), QUESTION)
    assert text == '<user>Q<call>{"name": "add", "parameters": {}}<call>{"name": "add", "parameters": {}}<user>Q'


def test_ids_are_as_short_as_a_template_wants_them() -> None:
    text = _rendered(MISTRAL, QUESTION, _called(("call_0123456789", '{"a": 1}')), _result("call_0123456789", "1"))
    number = text.split('"id": "')[1][:9]
    assert number.isalnum()
    assert text == (
        f'[INST]Q[TOOL_CALLS] [{{"name": "add", "arguments": {{"a": 1}}, "id": "{number}"}}]'
        f'[TOOL_RESULTS] {{"content": 1, "call_id": "{number}"}}'
    )
    assert '"id": "a1B2c3D4e"' in _rendered(MISTRAL, _called(("a1B2c3D4e", "{}")))


def test_a_template_of_tags_gets_arguments_one_by_one() -> None:
    assert _rendered(CODER, _called(("1", '{"a": "x", "b": [1]}'))) == "<function=add><parameter=a>x<parameter=b>[1]"


@pytest.mark.parametrize("arguments", ['{"a": 1}', {"a": 1}])
def test_a_template_that_joins_texts_gets_arguments_as_text(arguments: Any) -> None:
    assert _rendered(DEEPSEEK, _called(("1", arguments))) == 'add\n```json\n{"a": 1}\n```'
    assert _rendered(OF_PYTHON, _called(("1", arguments))) == '{"a": 1}'


def test_messages_without_calls_have_none() -> None:
    answer = {"role": "assistant", "content": "A", "tool_calls": None}
    assert _rendered(LLAMA_3, QUESTION, answer) == "<user>Q<assistant>A"
    assert _rendered(MISTRAL, QUESTION, {**answer, "tool_calls": []}) == "[INST]Q[INST]A"


def test_a_tool_without_parameters_gets_a_schema() -> None:
    tools = [{"type": "function", "function": {"name": "now", "parameters": None}}]
    template = "{{ tools[0].function.parameters | tojson }}"
    assert _rendered(template, QUESTION, tools=tools) == '{"type": "object", "properties": {}}'


def test_what_a_template_refuses_is_the_callers_error() -> None:
    with pytest.raises(ErrorResponse) as refused:
        _rendered("{{ raise_exception('alternate, please') }}", QUESTION, _called(("1", "{}")))
    assert refused.value.status == 400
    assert "alternate, please" in refused.value.body["error"]["message"]


def test_calls_of_kimi_are_counted_through_the_conversation() -> None:
    """Its template shows the id of a call, and nothing else of its name."""
    again = _called(("x", "{}"))
    text = _rendered(
        KIMI,
        QUESTION,
        _called(("x", '{"a": 1}'), ("y", "{}")),
        _result("y", "two"),
        _result("x", "one"),
        again,
        _result("x", "three"),
        _result("lost", "four"),
    )
    calls = [f"<|tool_call_begin|>functions.add:{number}<|tool_call_argument_begin|>" for number in range(3)]
    assert text == (
        f'Q<|tool_calls_section_begin|>{calls[0]}{{"a": 1}}{calls[1]}{{}}'
        "## Return of functions.add:1|two## Return of functions.add:0|one"
        f"<|tool_calls_section_begin|>{calls[2]}{{}}## Return of functions.add:2|three## Return of lost|four"
    )
    assert again["tool_calls"][0]["id"] == "x"


def test_a_template_that_shows_the_first_call_alone_gets_one_at_once() -> None:
    called = _called(("1", '{"a": 1}'), ("2", '{"a": 2}'))
    text = _rendered(GPT_OSS, called, _result("1", "one"), _result("2", "two"))
    one, two = (
        f'<|start|>assistant to=functions.add<|channel|>commentary json<|message|>{{"a": {number}}}<|call|>'
        f"<|start|>tool<|message|>{result}<|end|>"
        for number, result in ((1, "one"), (2, "two"))
    )
    assert text == one + two


class Named:
    """A tokenizer with templates by name."""

    def __init__(self, **templates: str) -> None:
        self.chat_template = templates


@pytest.mark.parametrize(
    ("templates", "wanted"),
    [
        ({"default": "{{ messages }}", "tool_use": COMMAND}, COMMAND),
        ({"default": "{{ messages }}", "tool_use": "{{ tools }}"}, "{{ messages }}"),
        ({"default": "{{ tools }}", "tool_use": COMMAND}, "{{ tools }}"),
        ({"default": "{{ messages }}"}, "{{ messages }}"),
        ({}, None),
    ],
)
def test_of_several_templates_the_one_that_serves_all_chats_is_taken(
    templates: dict[str, str], wanted: str | None
) -> None:
    assert ChatTemplate(Named(**templates), None, "nano").text == wanted


def test_a_template_that_only_the_files_tell_of_is_the_last_one_taken() -> None:
    assert ChatTemplate(Named(), None, "nano", described="theirs").text == "theirs"
    assert ChatTemplate(Named(default="own"), None, "nano", described="theirs").text == "own"


@pytest.mark.parametrize(
    ("text", "does"),
    [
        ("<think>", False),
        ("</think>", True),
        (COMMAND, True),
        ("<|START_RESPONSE|>{{ content }}", True),
        ("<|channel|>analysis<|message|>", True),
    ],
)
def test_a_template_tells_whether_answers_have_parts(text: str, does: bool) -> None:
    assert ChatTemplate(nano_tokenizer(), text, "nano").shows_reasoning is does


def test_a_prompt_tells_whether_the_model_is_to_think() -> None:
    assert thoughts_end("Q<think>\n") == "</think>"
    assert thoughts_end("<|CHATBOT_TOKEN|><|START_THINKING|>") == "<|END_THINKING|>"
    assert thoughts_end("<|CHATBOT_TOKEN|><|START_THINKING|><|END_THINKING|>") == ""


PARTS = "{% for message in messages %}{% for part in message.content %}<{{ part.text }}>{% endfor %}{% endfor %}"
TRIMMED = "{% for message in messages %}[{{ message.content[:3] }}]{% endfor %}"


@pytest.mark.parametrize(("template", "shown"), [(PARTS, "<Hello>"), (TRIMMED, "[Hel]")], ids=["parts", "text"])
def test_contents_have_the_form_that_the_template_shows(template: str, shown: str) -> None:
    for content in ("Hello", [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]):
        body = {"messages": [{"role": "user", "content": content}]}
        assert ChatTemplate(nano_tokenizer(), template, "nano").render(body) == shown
