"""``/tokenize``: what it takes, and the texts of tokens beside them."""

from __future__ import annotations

from typing import Any

import pytest

from modelhost.chat.parsing.parse import parsed
from modelhost.chat.task_answers import with_token_strings
from modelhost.engines.llamacpp.preparation import LlamaCppPreparation
from modelhost.errors import InvalidRequest
from modelhost.exchange.bodies import body_of
from modelhost.exchange.requests import TokenizeRequest

HELLO = [{"role": "user", "content": "Hello"}]


def asked(**body: Any) -> TokenizeRequest:
    request = parsed("tokenize", body)
    assert isinstance(request, TokenizeRequest)
    return request


def test_a_text_has_the_fields_of_both_servers() -> None:
    assert body_of(asked(content="a", add_special=True)) == {"content": "a", "add_special": True}
    assert body_of(asked(prompt="a", add_special_tokens=True)) == {"content": "a", "add_special": True}
    assert body_of(asked(prompt="a", return_token_strs=True)) == {"content": "a", "return_token_strs": True}


def test_messages_are_what_a_chat_of_them_would_be() -> None:
    more = {"add_generation_prompt": False, "chat_template_kwargs": {"x": 1}}
    tools = [{"type": "function", "function": {"name": "f"}}]
    body = {"messages": HELLO, "tools": tools, **more}
    assert body_of(asked(**body, add_special_tokens=False)) == body


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "content"),
        ({"content": "a", "prompt": "a"}, "prompt"),
        ({"content": "a", "messages": HELLO}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": HELLO, "parse_special": False}, "parse_special"),
        ({"messages": HELLO, "add_special": True}, "add_special"),
        ({"messages": HELLO, "add_special_tokens": True}, "add_special_tokens"),
        (
            {"messages": HELLO, "add_generation_prompt": True, "continue_final_message": True},
            "continue_final_message",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_by_its_name(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        parsed("tokenize", body)
    assert raised.value.param == param


def test_texts_stand_beside_the_tokens() -> None:
    told = {"tokens": [{"id": 1, "piece": "a"}, {"id": 2, "piece": [226, 130]}]}
    assert with_token_strings(told, with_pieces=False) == {"tokens": [1, 2], "token_strs": ["a", "\ufffd"]}
    assert with_token_strings(told, with_pieces=True)["tokens"] == told["tokens"]
    of_vllm = {"tokens": [1], "token_strs": ["\u0120a"]}
    assert with_token_strings(of_vllm, with_pieces=False) == of_vllm


class EngineClient:
    """A worker that makes the same prompt of all conversations."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    async def fetch(self, path: str, body: Any = None) -> Any:
        self.seen.append((path, body))
        return {"prompt": "<Hello>"}


async def test_llamacpp_makes_the_prompt_first() -> None:
    line = EngineClient()
    body = {"model": "m", "messages": HELLO, "add_generation_prompt": False, "with_pieces": True}
    made = await LlamaCppPreparation().with_prompt(line, body)
    assert line.seen == [("/apply-template", {"messages": HELLO, "add_generation_prompt": False})]
    assert made == {
        "model": "m",
        "content": "<Hello>",
        "with_pieces": True,
        "add_special": True,
        "parse_special": True,
    }
