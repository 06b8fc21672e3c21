"""Real engines with the weights of a model that has learned one form of calls, and chat templates of others.

What the tiny model would not write of itself, it writes where a call is demanded: the grammar of the form is held to,
and what is written is read, over HTTP.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from tests.integration.engines.served import SERVED, TOOLS, Asking, Served
from tests.support.serving import ServedHost

CHAT = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% if m.tool_calls %}%s{% endif %}<|im_end|>\n"
END = "{% endfor %}<|im_start|>assistant\n{# {{ tools }} #}"
CALLS = {
    "llama3_json": '{% if m.tool_calls|length != 1 %}{{ raise_exception("only one") }}{% endif %}'
    '{% set f = m.tool_calls[0].function %}{"name": "{{ f.name }}", "parameters": {{ f.arguments | tojson }}}'
    '{# Respond in the format {"name": function name, "parameters": dictionary} <|python_tag|> #}',
    "mistral": "{% for c in m.tool_calls %}{% if c.id|length != 9 %}{{ raise_exception('short') }}{% endif %}"
    "[TOOL_CALLS]{{ c.function.name }}[ARGS]{{ c.function.arguments | tojson }}{% endfor %}",
    "qwen3_coder": "{% for c in m.tool_calls %}<tool_call>\n<function={{ c.function.name }}>\n"
    "{% for k, v in c.function.arguments | items %}<parameter={{ k }}>\n{{ v }}\n</parameter>\n{% endfor %}"
    "</function>\n</tool_call>{% endfor %}",
}
WAYS = [
    *(("transformers", form) for form in CALLS),
    *((engine, form) for engine in ("mlx", "mistralrs") for form in ("llama3_json", "qwen3_coder")),
]
Ways = tuple[Served, Asking]


@pytest.fixture(scope="module", params=WAYS, ids="-".join)
def way(request: pytest.FixtureRequest) -> Iterator[Ways]:
    engine, form = request.param
    served = next((served for served in SERVED if served.engine == engine), None)
    if served is None:
        pytest.skip(f"{engine} is not among the engines of this run")
    with ServedHost(chat_template=CHAT.replace("%s", CALLS[form]) + END, **served.host_settings) as host:
        yield served, Asking(host)


def _checked(call: dict[str, Any]) -> str:
    (schema,) = [
        tool["function"]["parameters"] for tool in TOOLS if tool["function"]["name"] == call["function"]["name"]
    ]
    jsonschema.validate(json.loads(call["function"]["arguments"]), schema)
    name: str = call["function"]["name"]
    return name


@pytest.mark.parametrize("seed", [1, 2])
def test_a_required_call_is_made_in_the_form_of_the_template(way: Ways, seed: int) -> None:
    drawn = {"temperature": 2, **way[0].seed(seed)}
    answer = way[1].chat("Tell me a joke.", tools=TOOLS, tool_choice="required", **drawn)
    choice = answer["choices"][0]
    (call,) = choice["message"]["tool_calls"]
    assert _checked(call) in {"get_weather", "add"}
    assert choice["finish_reason"] == "tool_calls"
    assert not choice["message"]["content"]


@pytest.mark.parametrize("name", ["get_weather", "add"])
def test_a_named_tool_is_called_and_streamed(way: Ways, name: str) -> None:
    choice = {"type": "function", "function": {"name": name}}
    chunks = way[1].chunks("Tell me a joke.", tools=TOOLS, tool_choice=choice)
    pieces = [piece for chunk in chunks for piece in chunk["choices"][0]["delta"].get("tool_calls") or ()]
    arguments = "".join(piece["function"].get("arguments") or "" for piece in pieces)
    assert _checked({"function": {"name": pieces[0]["function"]["name"], "arguments": arguments}}) == name
    assert len(pieces) > 2
    assert not "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)


@pytest.mark.promise("vllm-mcp.models.templates")
def test_calls_and_their_results_are_shown_as_the_template_takes_them(way: Ways) -> None:
    calls = [
        {
            "id": f"call_{number}",
            "type": "function",
            "function": {"name": "get_weather", "arguments": '{"city": "Rome"}'},
        }
        for number in range(2)
    ]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "sunny"} for call in calls]
    question = {"role": "user", "content": "What is the weather in Rome?"}
    said = {"role": "assistant", "content": None, "tool_calls": calls}
    answer = way[1].chat([question, said, *results], tools=TOOLS, max_tokens=3)
    assert answer["choices"][0]["finish_reason"] in {"length", "stop"}


def test_without_a_demand_what_is_written_is_told(way: Ways) -> None:
    message = way[1].chat("Hello! Who are you?", tools=TOOLS, parallel_tool_calls=False, max_tokens=30)
    found = message["choices"][0]["message"]
    assert found["content"] or found["tool_calls"]
