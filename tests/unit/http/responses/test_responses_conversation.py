"""Items as messages: turns, results, files, and what is left of approvals."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from modelhost.errors import InvalidEncryptedContent, InvalidRequest, NotFound
from modelhost.exchange.messages import Message, message_json
from modelhost.http.responses.conversation import messages_of, pending_calls
from modelhost.http.responses.items import host_call_id, input_items, new_turn, parsed_host_call_id

Json = dict[str, Any]
HI = {"role": "user", "content": "Hi"}


def unseal(sealed: str, _purpose: str) -> str:
    return sealed.removeprefix("sealed:")


def name_of(server: str, tool: str) -> str:
    return f"{server}_{tool}"


def messages(*items: Json, **options: Any) -> list[Json]:
    return [message_json(each) for each in read(*items, **options)]


def read(*items: Json, **options: Any) -> tuple[Message, ...]:
    return messages_of(input_items(list(items), lambda _: None), unseal, name_of, **options)


def call(name: str = "f", call_id: str = "c", arguments: str = "{}") -> Json:
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}


def result(text: Any = "done", call_id: str = "c") -> Json:
    return {"type": "function_call_output", "call_id": call_id, "output": text}


def host_call(turn: str, call_id: str, output: str = "done", **fields: Any) -> Json:
    known = {"id": host_call_id(turn, call_id).written("mcp_call"), "type": "mcp_call", "server_label": "stub"}
    return {**known, "name": "echo", "arguments": '{"x": 1}', "output": output, "error": None, **fields}


def wrote(text: str) -> Json:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


def refusal(*items: Json) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        read(*items)
    return caught.value


# Items.


def test_a_text_is_a_message_of_the_user() -> None:
    (item,) = input_items("Hi", lambda _: None)
    assert item["id"].startswith("msg_")
    assert (item["type"], item["role"], item["content"]) == ("message", "user", [{"type": "input_text", "text": "Hi"}])


def test_items_get_ids_and_types() -> None:
    items = input_items([HI, wrote("a"), {**call(), "id": "mine"}, result()], lambda _: None)
    assert [item["type"] for item in items] == ["message", "message", "function_call", "function_call_output"]
    assert items[2]["id"] == "mine"
    assert len({item["id"] for item in items}) == 4


def test_a_reference_is_the_stored_item() -> None:
    stored = {"id": "msg_1", "type": "message", "role": "user", "content": []}
    for given in ({"type": "item_reference", "id": "msg_1"}, {"id": "msg_1"}):
        assert input_items([given], {"msg_1": stored}.get) == [stored]
    with pytest.raises(NotFound) as caught:
        input_items([HI, {"type": "item_reference", "id": "msg_2"}], lambda _: None)
    assert caught.value.param == "input[1].id"


def test_the_id_of_a_host_call_has_its_parts() -> None:
    turn = new_turn()
    for call_id in ("call_1", "abc_def_ghi", "123456789"):
        assert parsed_host_call_id(host_call_id(turn, call_id).written("mcp_call")) == (turn, call_id)
    assert parsed_host_call_id("mcp_68a1") == ("", "mcp_68a1")
    assert len(host_call_id(turn, "x" * 500).written("mcp_approval_request")) <= 64


# Turns.


def test_what_the_model_wrote_in_a_turn_is_one_message() -> None:
    reasoning = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]}
    calls = [call(call_id="a"), call(call_id="b"), result(call_id="a"), result(call_id="b")]
    found = messages(HI, reasoning, wrote("Let me look."), *calls)
    assert [message["role"] for message in found] == ["user", "assistant", "tool", "tool"]
    assert (found[1]["content"], found[1]["reasoning_content"]) == ("Let me look.", "Hm.")
    assert [each["id"] for each in found[1]["tool_calls"]] == ["a", "b"]


def test_an_output_without_its_call_is_refused() -> None:
    assert refusal(HI, call(call_id="a"), result(call_id="b")).param == "input[2].call_id"


def test_a_message_behind_calls_is_another_turn() -> None:
    found = messages(HI, call(), wrote("So."))
    assert [message["role"] for message in found] == ["user", "assistant", "assistant"]


def test_calls_of_the_host_are_the_messages_of_its_loop() -> None:
    one, two = new_turn(), new_turn()
    found = messages(
        HI, wrote("Both."), host_call(one, "a"), host_call(one, "b", "2"), host_call(two, "c"), wrote("So.")
    )
    roles = [message["role"] for message in found]
    assert roles == ["user", "assistant", "tool", "tool", "assistant", "tool", "assistant"]
    assert found[1]["content"] == "Both."
    assert [each["function"] for each in found[1]["tool_calls"]] == [{"name": "stub_echo", "arguments": '{"x": 1}'}] * 2
    assert [(each["tool_call_id"], each["content"]) for each in found[2:4]] == [("a", "done"), ("b", "2")]


def test_calls_of_the_client_behind_those_of_the_host_are_a_message_of_their_own() -> None:
    found = messages(HI, host_call(new_turn(), "a"), call(call_id="b"), result(call_id="b"))
    assert [message["role"] for message in found] == ["user", "assistant", "tool", "assistant", "tool"]


def test_the_error_of_a_call_is_its_result() -> None:
    content = [{"type": "text", "text": "no such file"}]
    failed = host_call(new_turn(), "a", error={"type": "mcp_tool_execution_error", "content": content})
    for error, text in ((failed["error"], "no such file"), ("no", "no"), (None, "The call was cancelled.")):
        assert messages(HI, {**failed, "output": None, "error": error})[2]["content"] == text


def test_contents_of_an_error_that_are_no_text_are_left_out() -> None:
    contents: list[Any] = [{"text": 5}, 5, {"type": "image"}, {"type": "text", "text": "no such file"}]
    failed = host_call(new_turn(), "a", error={"content": contents})
    assert messages(HI, {**failed, "output": None})[2]["content"] == "no such file"


def test_a_custom_call_keeps_its_input() -> None:
    custom = {"type": "custom_tool_call", "call_id": "c", "name": "run", "input": "ls"}
    found = messages(HI, custom, {"type": "custom_tool_call_output", "call_id": "c", "output": "a b"})
    assert found[1]["tool_calls"][0]["custom"] == {"name": "run", "input": "ls"}
    assert found[2] == {"role": "tool", "tool_call_id": "c", "content": "a b"}


def test_items_that_no_model_reads_are_left_out() -> None:
    others = [
        {"type": "mcp_list_tools", "server_label": "stub", "tools": []},
        {"type": "web_search_call", "id": "ws_1"},
    ]
    assert messages(HI, *others) == messages(HI)


def test_a_compaction_stands_for_its_items() -> None:
    earlier = input_items([HI, wrote("Hello.")], lambda _: None)
    sealed = {"type": "compaction", "encrypted_content": "sealed:" + json.dumps({"items": earlier})}
    assert messages(sealed, {"role": "user", "content": "Go on"}) == messages(
        HI, wrote("Hello."), {"role": "user", "content": "Go on"}
    )


@pytest.mark.parametrize("sealed", ["I think.", '{"items": 5}', '{"items": [5]}', '{"items": [{"type": "mcp_call"}]}'])
def test_what_is_sealed_and_no_conversation_is_no_compaction(sealed: str) -> None:
    with pytest.raises(InvalidEncryptedContent):
        messages({"type": "compaction", "encrypted_content": f"sealed:{sealed}"})


# Reasoning.


@pytest.mark.parametrize(
    "given",
    [
        {"summary": [], "encrypted_content": "sealed:Hm."},
        {"summary": [{"type": "summary_text", "text": "Hm."}]},
        {"summary": [{"type": "summary_text", "text": "x"}], "content": [{"type": "reasoning_text", "text": "Hm."}]},
    ],
    ids=["sealed", "summary", "content"],
)
def test_reasoning_is_what_is_sealed_or_said(given: Json) -> None:
    found = messages(HI, {"type": "reasoning", **given}, wrote("Four."))
    assert found[1]["reasoning_content"] == "Hm."


# Messages of others.


def test_the_system_comes_first_and_is_one_message() -> None:
    found = messages({"role": "developer", "content": "Be kind."}, HI, instructions="Be brief.")
    assert found == [{"role": "system", "content": "Be brief.\nBe kind."}, {"role": "user", "content": "Hi"}]


def test_the_system_in_the_middle_is_text_of_the_user() -> None:
    found = messages(HI, wrote("Hello."), {"role": "system", "content": "Be brief."}, HI)
    assert [message["role"] for message in found] == ["user", "assistant", "user"]
    assert found[2]["content"] == "Be brief.\nHi"


def test_a_prompt_without_a_message_of_the_user_gets_an_empty_one() -> None:
    assert messages(instructions="Be brief.")[-1] == {"role": "user", "content": ""}


def test_texts_images_and_files_are_parts() -> None:
    text = base64.b64encode(b"a,b").decode()
    content = [
        {"type": "input_text", "text": "Look:"},
        {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto"},
        {"type": "input_file", "filename": "a.csv", "file_data": f"data:text/csv;base64,{text}"},
    ]
    (found,) = messages({"role": "user", "content": content})
    assert [part["type"] for part in found["content"]] == ["text", "image_url", "text", "text"]
    assert found["content"][1]["image_url"] == {"url": "data:image/png;base64,AAAA"}
    assert [part["text"] for part in found["content"][2:]] == ["a.csv", "a,b"]


@pytest.mark.parametrize(
    ("part", "field"),
    [
        ({"type": "input_file", "file_id": "file_1"}, "file_id"),
        ({"type": "input_file", "file_data": "data:application/pdf;base64,AAAA"}, "file_data"),
        ({"type": "input_file", "file_data": "data:text/plain;base64,%"}, "file_data"),
        ({"type": "input_file", "file_data": "é"}, "file_data"),
        ({"type": "input_image", "file_id": "file_1"}, "file_id"),
    ],
    ids=str,
)
def test_a_part_that_cannot_be_used_is_refused_by_its_path(part: Json, field: str) -> None:
    refused = refusal(HI, wrote("Hello."), {"role": "user", "content": [part]})
    assert refused.param == f"input[2].content[0].{field}"
    assert refused.message.startswith(f"{refused.param}: ")


@pytest.mark.parametrize("kind", ["input_image", "input_file"])
def test_a_message_of_the_model_has_text_only(kind: str) -> None:
    data = {"image_url": "data:image/png;base64,AAAA", "file_data": "aGk="}
    refused = refusal(
        HI, {"role": "assistant", "content": [{"type": "output_text", "text": "a"}, {"type": kind, **data}]}
    )
    assert refused.param == "input[1].content[1].type"
    assert f"an {kind} belongs in one of the user" in refused.message


def test_a_file_that_a_tool_returned_does_not_end_the_conversation() -> None:
    pdf = [{"type": "input_file", "file_data": "data:application/pdf;base64,AAAA"}]
    assert "pdftotext" in messages(HI, call(), result(pdf))[2]["content"]


# Approvals.


def request(call_id: str = "a") -> Json:
    item_id = host_call_id(new_turn(), call_id).written("mcp_approval_request")
    return {"type": "mcp_approval_request", "id": item_id, "server_label": "stub", "name": "rm", "arguments": "{}"}


def decision(about: Json, *, approve: bool = True, **fields: Any) -> Json:
    return {"type": "mcp_approval_response", "approval_request_id": about["id"], "approve": approve, **fields}


def test_decided_calls_are_pending_until_they_are_made() -> None:
    one, two, three = request("a"), request("b"), request("c")
    items = input_items([HI, one, two, three, decision(two, approve=False, reason="no"), decision(one)], lambda _: None)
    found = pending_calls(items, name_of)
    assert [(each.id, each.name, each.is_approved, each.reason) for each in found] == [
        ("a", "stub_rm", True, None),
        ("b", "stub_rm", False, "no"),
    ]
    made = host_call(new_turn(), "a", approval_request_id=one["id"])
    assert [each.id for each in pending_calls([*items, made], name_of)] == ["b"]
    assert messages(HI, one, decision(one)) == messages(HI)


@pytest.mark.parametrize("approve", [True, False])
def test_a_call_that_was_decided_about_cannot_be_approved_again(approve: bool) -> None:
    asked = request("a")
    made = host_call(new_turn(), "a", approval_request_id=asked["id"])
    items = input_items([HI, asked, decision(asked, approve=approve), made, decision(asked)], lambda _: None)
    with pytest.raises(InvalidRequest) as refused:
        pending_calls(items, name_of, given_from=4)
    assert refused.value.param == "input[0].approval_request_id"
    assert pending_calls(items, name_of, given_from=5) == ()


def test_calls_of_one_id_in_different_turns_are_kept_apart() -> None:
    one, other = request("call_0"), request("call_0")
    (call,) = pending_calls(input_items([HI, one, other, decision(one)], lambda _: None), name_of)
    assert (call.id, call.request_id) == ("call_0", one["id"])
    both = pending_calls(input_items([HI, one, other, decision(other), decision(one)], lambda _: None), name_of)
    assert {call.request_id for call in both} == {one["id"], other["id"]}
    assert len({call.id for call in both}) == 2


def test_two_decisions_about_a_call_in_one_request_are_refused() -> None:
    asked = request("a")
    items = input_items([HI, asked, decision(asked, approve=False), decision(asked)], lambda _: None)
    with pytest.raises(InvalidRequest) as refused:
        pending_calls(items, name_of, given_from=2)
    assert refused.value.param == "input[1].approval_request_id"
    (call,) = pending_calls(items, name_of, given_from=3)
    assert call.is_approved


def test_a_decision_about_no_call_is_refused() -> None:
    unknown = {"type": "mcp_approval_response", "approval_request_id": "mcpr_unknown", "approve": True}
    with pytest.raises(InvalidRequest) as refused:
        pending_calls(input_items([HI, request("a"), unknown], lambda _: None), name_of)
    assert refused.value.param == "input[2].approval_request_id"


def test_an_approved_call_belongs_to_the_turn_that_wanted_it() -> None:
    asked = request("a")
    made = host_call(new_turn(), "a", approval_request_id=asked["id"])
    found = messages(HI, wrote("Shall I?"), asked, decision(asked), made, wrote("Done."))
    assert [message["role"] for message in found] == ["user", "assistant", "tool", "assistant"]
    assert found[1]["content"] == "Shall I?"
