"""Messages of Ollama's API as messages of this host."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modelhost.exchange.messages import MediaPart, Message, TextPart, message_json
from modelhost.http.ollama.bodies import ChatRequest
from modelhost.http.ollama.parse import messages_of, user_message
from modelhost.http.validation import checked

Json = dict[str, Any]
PNG, JPEG = "iVBORw0KGgo=", "/9j/4AAQ"


def read(*messages: Json) -> list[Json]:
    given = checked(ChatRequest, {"messages": list(messages)})
    return [message_json(each) for each in messages_of(given.messages or ())]


def call(name: str, call_id: str | None = None, **arguments: Any) -> Json:
    return {**({"id": call_id} if call_id else {}), "function": {"name": name, "arguments": arguments}}


def asking(*calls: Json) -> Json:
    return {"role": "assistant", "content": "", "tool_calls": list(calls)}


def result(content: str, **of: str) -> Json:
    return {"role": "tool", "content": content, **of}


def test_roles_and_texts() -> None:
    plain = [{"role": role, "content": role} for role in ("system", "user", "assistant", "user")]
    assert read(*plain) == plain
    assert read({"role": "User"}, {"role": "ASSISTANT", "content": None}) == [
        {"role": "user", "content": ""},
        {"role": "assistant", "content": ""},
    ]


def test_thinking_of_an_answer_is_its_reasoning() -> None:
    (answer,) = read({"role": "assistant", "content": "4", "thinking": "2 + 2"})
    assert answer == {"role": "assistant", "content": "4", "reasoning_content": "2 + 2"}
    assert read({"role": "user", "content": "4", "thinking": "2 + 2"}) == [{"role": "user", "content": "4"}]


def test_arguments_are_an_object_here_and_text_there() -> None:
    (answer,) = read(asking(call("weather", "c1", city="Paris", days=[2])))
    (made,) = answer["tool_calls"]
    assert (made["id"], made["function"]["name"]) == ("c1", "weather")
    assert json.loads(made["function"]["arguments"]) == {"city": "Paris", "days": [2]}
    assert "content" not in answer
    without = {"role": "assistant", "tool_calls": [{"function": {"name": "now", "arguments": None}}]}
    assert read(without)[0]["tool_calls"][0]["function"]["arguments"] == "{}"


def results_of(found: list[Json]) -> list[tuple[str | None, str | None]]:
    return [(each.get("tool_call_id"), each.get("name")) for each in found if each["role"] == "tool"]


def ids_of(found: list[Json]) -> list[str]:
    return [made["id"] for each in found for made in each.get("tool_calls", ())]


def test_results_name_their_call() -> None:
    found = read(asking(call("a", "1"), call("b", "2")), result("y", tool_call_id="2"), result("x", tool_call_id="1"))
    assert results_of(found) == [("2", "b"), ("1", "a")]


def test_results_name_their_tool() -> None:
    found = read(asking(call("a"), call("b"), call("a")), *(result("x", tool_name=name) for name in ("b", "a", "a")))
    first, second, third = ids_of(found)
    assert results_of(found) == [(second, "b"), (first, "a"), (third, "a")]


def test_results_that_name_nothing_are_in_the_order_of_the_calls() -> None:
    found = read(asking(call("a"), call("b")), result("x"), result("y"), asking(call("c")), result("z"))
    first, second, third = ids_of(found)
    assert len({first, second, third}) == 3
    assert results_of(found) == [(first, "a"), (second, "b"), (third, "c")]


def test_a_result_without_a_call_is_a_message_all_the_same() -> None:
    assert read(result("x", tool_name="a"), result("y")) == [
        {"role": "tool", "content": "x", "name": "a"},
        {"role": "tool", "content": "y"},
    ]


@pytest.mark.parametrize(
    ("data", "url"),
    [
        (PNG, f"data:image/png;base64,{PNG}"),
        (JPEG, f"data:image/jpeg;base64,{JPEG}"),
        ("R0lGODlh", "data:image/gif;base64,R0lGODlh"),
        ("UklGRgAA", "data:image/webp;base64,UklGRgAA"),
        ("Qk0AAAAA", "data:image/bmp;base64,Qk0AAAAA"),
        ("data:image/png;base64,AAAA", "data:image/png;base64,AAAA"),
        ("AAAA", "data:image/png;base64,AAAA"),
    ],
)
def test_images_precede_the_text(data: str, url: str) -> None:
    image = MediaPart("image_url", {"image_url": {"url": url}}, "images[0]")
    assert user_message("What is it?", [data]) == Message(role="user", content=(image, TextPart("What is it?")))
    assert user_message("", [data]) == Message(role="user", content=(image,))


def test_images_stand_in_any_message() -> None:
    for message in ({"role": "user"}, {"role": "tool", "tool_name": "camera"}):
        (found,) = read({**message, "content": "look", "images": [PNG, JPEG]})
        assert [part["type"] for part in found["content"]] == ["image_url", "image_url", "text"]
