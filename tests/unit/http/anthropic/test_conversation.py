"""Messages of Anthropic's API as messages of the host: every kind of block, and which of them are refused."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from modelhost.errors import InvalidRequest
from modelhost.exchange.messages import message_json
from modelhost.http.anthropic.bodies import IGNORED_BLOCKS, CountTokensRequest
from modelhost.http.anthropic.conversation import messages_of, system_message
from modelhost.http.translation import UNREADABLE
from modelhost.http.validation import checked

Json = dict[str, Any]
SIGNED = "signed"


def read(*messages: Json) -> list[Json]:
    """Return the messages in OpenAI's words; the only signature that is good is ``signed``."""
    body = checked(CountTokensRequest, {"messages": list(messages)})
    return [message_json(each) for each in messages_of(body.messages, lambda _, signature: signature == SIGNED)]


def user(*content: Json) -> Json:
    return {"role": "user", "content": list(content)}


def assistant(*content: Json) -> Json:
    return {"role": "assistant", "content": list(content)}


def text(said: str) -> Json:
    return {"type": "text", "text": said}


def use(call_id: str, kind: str = "tool_use", **arguments: Any) -> Json:
    return {"type": kind, "id": call_id, "name": "look", "input": arguments}


def result(call_id: str, content: Any = "done", kind: str = "tool_result") -> Json:
    return {"type": kind, "tool_use_id": call_id, "content": content}


def call(call_id: str, arguments: str = "{}") -> Json:
    return {"id": call_id, "type": "function", "function": {"name": "look", "arguments": arguments}}


def document(**source: Any) -> Json:
    return {"type": "document", "source": source}


def in_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def image(kind: str, **source: Any) -> Json:
    return {"type": "image", "source": {"type": kind, **source}}


PICTURE = image("base64", media_type="image/png", data="AAAA")
SEEN = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


# Messages of the user.


@pytest.mark.parametrize(
    ("blocks", "content"),
    [
        ([], ""),
        ([text("Hi")], "Hi"),
        ([text("Hi"), text(""), text("there")], "Hi\nthere"),
        ([PICTURE], [SEEN]),
        ([image("url", url="http://a/b.png")], [{"type": "image_url", "image_url": {"url": "http://a/b.png"}}]),
        ([text("See:"), text(""), PICTURE], [text("See:"), SEEN]),
        ([{"type": "tool_reference", "tool_name": "look"}], "look"),
    ],
    ids=["nothing", "text", "texts", "image", "image at an address", "text and image", "name of a tool"],
)
def test_blocks_of_the_user(blocks: list[Json], content: Any) -> None:
    assert read(user(*blocks)) == [{"role": "user", "content": content}]


@pytest.mark.parametrize(
    ("source", "content"),
    [
        ({"type": "text", "media_type": "text/plain", "data": "Once."}, "Once."),
        ({"type": "content", "content": "Once."}, "Once."),
        ({"type": "content", "content": [text("Once"), text("upon")]}, "Once\nupon"),
        ({"type": "base64", "media_type": "text/csv", "data": in_base64("ä,b".encode())}, "ä,b"),
    ],
    ids=["text", "content", "blocks", "base64"],
)
def test_a_document_is_its_text(source: Json, content: str) -> None:
    assert read(user(document(**source))) == [{"role": "user", "content": content}]


def test_a_document_at_an_address_is_for_the_host_to_fetch() -> None:
    linked = {"type": "file", "file": {"file_url": "http://a/b.txt"}}
    assert read(user(document(type="url", url="http://a/b.txt")))[0]["content"] == [linked]


def test_a_document_has_its_title_and_its_context_before_it() -> None:
    given = {**document(type="text", data="Once."), "title": "A tale", "context": "For children"}
    assert read(user(given, text("What is it?")))[0]["content"] == "A tale\nFor children\nOnce.\nWhat is it?"


def test_images_in_a_document_are_images() -> None:
    given = document(type="content", content=[text("Look"), PICTURE])
    assert read(user(given))[0]["content"] == [text("Look"), SEEN]


def test_a_search_result_has_its_title_and_its_source_before_it() -> None:
    found = {"type": "search_result", "title": "Cats", "source": "http://cats", "content": [text("Cats"), text("purr")]}
    assert read(user(found))[0]["content"] == "Cats\nhttp://cats\nCats\npurr"


# Calls and their results.


def test_results_come_before_the_rest_of_their_message_in_their_order() -> None:
    found = read(
        assistant(text("I look."), use("1", at="a"), use("2")),
        user(text("So?"), result("2"), text("Well?"), result("1", [text("a"), text("b")]), result("3", None)),
    )
    assert found == [
        {"role": "assistant", "content": "I look.", "tool_calls": [call("1", '{"at":"a"}'), call("2")]},
        {"role": "tool", "tool_call_id": "2", "content": "done"},
        {"role": "tool", "tool_call_id": "1", "content": "a\nb"},
        {"role": "tool", "tool_call_id": "3", "content": ""},
        {"role": "user", "content": "So?\nWell?"},
    ]


def test_a_message_of_results_alone_is_no_message_of_the_user() -> None:
    assert [message["role"] for message in read(assistant(use("1")), user(result("1")))] == ["assistant", "tool"]


def test_a_result_may_hold_images_documents_and_search_results() -> None:
    found = {"type": "search_result", "title": "Cats", "source": "s", "content": []}
    parts = [PICTURE, document(type="text", data="Once."), found, {"type": "tool_reference", "tool_name": "look"}]
    assert read(assistant(use("1")), user(result("1", parts)))[1]["content"] == [
        SEEN,
        text("Once."),
        text("Cats\ns"),
        text("look"),
    ]


def test_an_answer_with_calls_alone_has_no_text() -> None:
    (found,) = read(assistant(use("1")))
    assert found == {"role": "assistant", "tool_calls": [call("1")]}


def test_calls_of_the_host_are_the_turns_that_they_were() -> None:
    found = read(
        user(text("Hi")),
        assistant(
            text("I look."),
            {**use("1", "mcp_tool_use"), "server_name": "files"},
            result("1", [text("one")], "mcp_tool_result"),
            text("Again."),
            use("2", "mcp_tool_use"),
            result("2", "two", "mcp_tool_result"),
            text("It is two."),
        ),
    )
    assert found[1:] == [
        {"role": "assistant", "content": "I look.", "tool_calls": [call("1")]},
        {"role": "tool", "tool_call_id": "1", "content": "one"},
        {"role": "assistant", "content": "Again.", "tool_calls": [call("2")]},
        {"role": "tool", "tool_call_id": "2", "content": "two"},
        {"role": "assistant", "content": "It is two."},
    ]


def test_calls_of_the_host_that_were_made_at_once_are_in_one_message() -> None:
    kinds = ("mcp_tool_use", "mcp_tool_use"), ("mcp_tool_result", "mcp_tool_result")
    uses = [use(str(place), kind) for place, kind in enumerate(kinds[0])]
    results = [result(str(place), kind=kind) for place, kind in enumerate(kinds[1])]
    found = read(assistant(*uses, *results))
    assert [message["role"] for message in found] == ["assistant", "tool", "tool"]
    assert found[0]["tool_calls"] == [call("0"), call("1")]


# Roles.


def test_consecutive_messages_of_the_user_are_one() -> None:
    assert read({"role": "user", "content": "a"}, user(text("b")), user(PICTURE)) == [
        {"role": "user", "content": [text("a\nb"), SEEN]}
    ]


def test_consecutive_answers_are_one() -> None:
    thought = {"type": "thinking", "thinking": "Hm.", "signature": SIGNED}
    found = read(assistant(thought, text("a")), {"role": "assistant", "content": "b"}, assistant(use("1")))
    assert found == [{"role": "assistant", "content": "a\nb", "tool_calls": [call("1")], "reasoning_content": "Hm."}]


def test_an_answer_with_calls_is_not_merged_with_the_next() -> None:
    assert [message["role"] for message in read(assistant(use("1")), assistant(text("a")))] == ["assistant"] * 2


BRIEF = text("Be brief.")
REMINDED = "<system-reminder>\nBe brief.\n</system-reminder>"
BE_BRIEF = {"role": "system", "content": "Be brief."}


def test_a_system_message_in_the_middle_is_text_of_the_user() -> None:
    found = read(user(text("a")), BE_BRIEF, assistant(text("b")), user(text("c")))
    assert [(each["role"], each["content"]) for each in found] == [
        ("user", f"a\n{REMINDED}"),
        ("assistant", "b"),
        ("user", "c"),
    ]


def test_a_system_message_after_a_result_is_text_of_the_user() -> None:
    found = read(user(text("a")), assistant(use("1")), user(result("1")), {"role": "system", "content": [BRIEF]})
    assert [(each["role"], each["content"]) for each in found[2:]] == [("tool", "done"), ("user", REMINDED)]


def test_system_messages_at_the_beginning_belong_to_the_system_prompt() -> None:
    body = checked(CountTokensRequest, {"system": "Be kind.", "messages": [BE_BRIEF, BE_BRIEF, user(text("a"))]})
    before = system_message(body.system, is_stable=True)
    found = messages_of(body.messages, lambda *_: False, before=before)
    assert [(each.role, each.content) for each in found] == [
        ("system", "Be kind.\nBe brief.\nBe brief."),
        ("user", "a"),
    ]


# Thinking.


def test_thinking_with_its_signature_is_reasoning() -> None:
    blocks = [{"type": "thinking", "thinking": said, "signature": SIGNED} for said in ("One. ", "Two.")]
    (found,) = read(assistant(*blocks, text("Yes.")))
    assert found == {"role": "assistant", "content": "Yes.", "reasoning_content": "One. Two."}


# What is refused or has no effect.

FILE = image("file", file_id="f")


@pytest.mark.parametrize(
    ("message", "param", "said"),
    [
        (assistant(text("a"), PICTURE), "messages[1].content[1].type", "cannot have a block of type image"),
        (assistant(result("1")), "messages[1].content[0].type", "of type tool_result"),
        (user(text("a"), use("1")), "messages[1].content[1].type", "of type tool_use"),
        (user(use("1", "mcp_tool_use")), "messages[1].content[0].type", "of type mcp_tool_use"),
        (user({"type": "thinking", "thinking": "", "signature": ""}), "messages[1].content[0].type", "type thinking"),
        (
            assistant({"type": "thinking", "thinking": "Hm.", "signature": "forged"}),
            "messages[1].content[0].signature",
            "Invalid `signature` in `thinking` block: this host did not write it",
        ),
        (user(FILE), "messages[1].content[0].source", "stores no files"),
        (user(result("1", [text("a"), FILE])), "messages[1].content[0].content[1].source", "stores no files"),
        (user(document(type="file", file_id="f")), "messages[1].content[0].source", "stores no files"),
        (
            user(document(type="content", content=[text("a"), FILE])),
            "messages[1].content[0].source.content[1].source",
            "stores no files",
        ),
        (
            user(document(type="base64", media_type="application/pdf", data="AAAA")),
            "messages[1].content[0].source",
            "the text of a document only",
        ),
        (
            user(document(type="base64", media_type="text/plain", data="no base64!")),
            "messages[1].content[0].source.data",
            "not text in UTF-8, in base64",
        ),
        (
            user(document(type="base64", media_type="text/plain", data=in_base64(b"\xff"))),
            "messages[1].content[0].source.data",
            "not text in UTF-8, in base64",
        ),
    ],
)
def test_a_block_that_cannot_be_used_is_refused_by_its_path(message: Json, param: str, said: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(user(text("Hi")), message)
    assert caught.value.param == param
    assert caught.value.message.startswith(f"{param}: ")
    assert said in caught.value.message


@pytest.mark.parametrize("kind", sorted(IGNORED_BLOCKS))
def test_blocks_of_other_servers_are_ignored_and_noted(kind: str, notes: list[str]) -> None:
    block = {"type": kind, "data": "x"}
    found = read(user(block, text("Hi")), assistant(text("Yes?"), block), user(result("1", [block, text("done")])))
    assert [message["content"] for message in found] == ["Hi", "Yes?", "done"]
    assert notes == [f"ignored={kind}"] * 3


PAPERS = [
    document(type="base64", media_type="application/pdf", data="AAAA"),
    document(type="url", url="http://a/b.pdf"),
]


@pytest.mark.parametrize("paper", PAPERS, ids=["base64", "url"])
def test_the_model_learns_of_a_document_that_a_tool_returned_and_that_it_cannot_read(
    paper: Json, notes: list[str]
) -> None:
    inside = read(user(text("Hi")), assistant(use("1")), user(result("1", [text("Here:"), paper])))
    beside = read(user(text("Hi")), assistant(use("1")), user(result("1", "Here:"), paper))
    assert [each["content"] for each in inside[2:]] == [f"Here:\n{UNREADABLE}"]
    assert [each["content"] for each in beside[2:]] == ["Here:", UNREADABLE]
    assert notes == ["ignored=document"] * 2


# The system prompt.


@pytest.mark.parametrize("system", [None, "", [], [text("")]], ids=str)
def test_without_a_system_prompt_there_is_no_message(system: Any) -> None:
    given = checked(CountTokensRequest, {"messages": [user()], "system": system}).system
    assert system_message(given, is_stable=True) == ()


@pytest.mark.parametrize("system", ["Be brief.\nBe kind.", [text("Be brief."), text(""), text("Be kind.")]], ids=type)
def test_a_system_prompt_is_one_message(system: Any) -> None:
    given = checked(CountTokensRequest, {"messages": [user()], "system": system}).system
    (message,) = system_message(given, is_stable=False)
    assert message_json(message) == {"role": "system", "content": "Be brief.\nBe kind."}


def test_lines_that_always_change_are_removed_from_stable_prompts_only() -> None:
    blocks = [text("x-anthropic-billing-header: cc_version=2.1; cch=abc;"), text("Be kind.")]
    given = checked(CountTokensRequest, {"messages": [user()], "system": blocks}).system
    assert [each.text for each in system_message(given, is_stable=True)] == ["Be kind."]
    (changing,) = system_message(given, is_stable=False)
    assert changing.text.startswith("x-anthropic-billing-header")
