"""What is decided without a server: approvals, restarts, arguments, and what a model is shown."""

from __future__ import annotations

import errno
from typing import Any

import httpx2
import mcp_types as types
import pytest
from mcp.shared.exceptions import MCPError

from modelhost.tools.arguments import ArgumentCheck, read_arguments
from modelhost.tools.callbacks import stricter, verdict
from modelhost.tools.content import images_of, text_of
from modelhost.tools.entry import Approval
from modelhost.tools.failures import (
    MAX_FAILURES,
    REMOTE_MAX_FAILURES,
    STABLE_SECONDS,
    ConnectionLostError,
    after_failure,
    is_hopeless,
    loggable_reason,
    reason_of,
)
from modelhost.tools.outcome import cut
from modelhost.tools.stdio import MAX_LENGTH, MAX_LINES, LineBuffer


@pytest.mark.parametrize(
    ("approval", "read_only", "other"),
    [("auto", "run", "run"), ("read_only", "run", "ask"), ("ask", "ask", "ask"), ("deny", "deny", "deny")],
)
def test_the_verdict_on_a_call(approval: Approval, read_only: str, other: str) -> None:
    assert verdict(approval, is_read_only=True) == read_only
    assert verdict(approval, is_read_only=False) == other


def test_the_stricter_approval_wins() -> None:
    assert stricter("auto", "ask") == stricter("ask", "auto") == stricter("ask", None) == "ask"
    assert stricter("deny", "read_only") == "deny"


def test_a_process_that_fails_again_and_again_has_failed() -> None:
    waits: list[float | None] = []
    failures = 0
    for _ in range(MAX_FAILURES):
        retry = after_failure(failures, 0.0, is_remote=False)
        failures = retry.failures
        waits.append(retry.after_seconds)
    assert waits == [0.1, 0.2, 0.4, 0.8, None]
    assert retry.has_failed


def test_a_remote_server_that_has_failed_is_tried_again_now_and_then() -> None:
    retry = after_failure(REMOTE_MAX_FAILURES, 0.0, is_remote=True)
    assert retry.has_failed
    assert retry.after_seconds == 60


def test_a_server_that_was_ready_for_long_begins_anew() -> None:
    retry = after_failure(MAX_FAILURES, STABLE_SECONDS, is_remote=False)
    assert (retry.failures, retry.has_failed) == (1, False)


def test_a_program_that_is_not_there_is_not_tried_again() -> None:
    assert after_failure(0, 0.0, is_remote=False, is_hopeless=True).after_seconds is None


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "array", "items": {"type": "integer"}}},
    "required": ["city"],
}


def test_arguments_are_read_from_what_a_model_wrote() -> None:
    assert read_arguments('{"city": "Bern"}') == {"city": "Bern"}
    assert read_arguments("") == {}
    with pytest.raises(ValueError, match="not JSON"):
        read_arguments('{"city": ')
    with pytest.raises(ValueError, match="not a JSON object"):
        read_arguments("[1]")


def test_arguments_are_checked_against_the_schema() -> None:
    check = ArgumentCheck(SCHEMA)
    assert check.problems({"city": "Bern"}) == []
    assert check.problems({}) == ["'city' is a required property"]
    assert check.problems({"city": "Bern", "days": [1, "two"]}) == ["\"days[1]\": 'two' is not of type 'integer'"]


def test_a_long_value_is_not_repeated_to_the_model() -> None:
    (problem,) = ArgumentCheck(SCHEMA).problems({"city": ["x" * 10_000]})
    assert len(problem) < 400
    assert problem.endswith("is not of type 'string'")


@pytest.mark.parametrize("schema", [{"type": 3}, {"$ref": "http://127.0.0.1:9/schema.json"}])
def test_a_schema_that_cannot_be_used_refuses_nothing_and_fetches_nothing(schema: dict[str, Any]) -> None:
    assert ArgumentCheck(schema).problems({"a": 1}) == []


def test_a_result_as_text() -> None:
    blocks: list[types.ContentBlock] = [
        types.TextContent(text="one"),
        types.ImageContent(data="AAAA", mime_type="image/png"),
        types.EmbeddedResource(resource=types.TextResourceContents(uri="a://b", text="two")),
        types.EmbeddedResource(resource=types.BlobResourceContents(uri="a://c", blob="AA==", mime_type="image/gif")),
        types.ResourceLink(uri="a://d", name="d"),
    ]
    assert text_of(blocks).splitlines() == [
        "one",
        "[image/png, 3 bytes]",
        "[resource a://b]",
        "two",
        "[resource a://c, image/gif, 1 bytes]",
        "[resource a://d: d]",
    ]
    assert [image.media_type for image in images_of(blocks)] == ["image/png", "image/gif"]


def test_structured_content_is_shown_where_there_is_no_text() -> None:
    assert text_of([], {"a": 1}) == '{"a":1}'
    assert text_of([types.TextContent(text="a is 1")], {"a": 1}) == "a is 1"


def test_a_long_result_is_cut_with_a_note_that_says_how_much() -> None:
    text, was_cut = cut("x" * 5_000_000, 1000)
    assert was_cut
    assert text == "x" * 1000 + "\n[cut: the first 1,000 of 5,000,000 characters are shown]"
    assert cut("x" * 1000, 1000) == ("x" * 1000, False)


def test_the_last_lines_are_kept() -> None:
    lines = LineBuffer()
    lines.feed(b"\n".join(str(number).encode() for number in range(10_000)))
    assert lines.tail(2) == ["9998", "9999"]
    assert len(lines.tail()) == MAX_LINES
    lines.feed(b"0\n" + b"x" * 1_000_000)
    assert lines.tail(2) == ["99990", "x" * MAX_LENGTH]


def test_a_reason_is_found_within_nested_groups() -> None:
    lost = MCPError(-32000, "Connection closed")
    refused = httpx2.ConnectError("All connection attempts failed")
    group = ExceptionGroup("one", [lost, ExceptionGroup("two", [ConnectionLostError("closed"), refused])])
    assert reason_of(group) == "cannot be reached: All connection attempts failed"
    assert reason_of(ExceptionGroup("one", [lost])) == "answered with the error -32000: Connection closed"


def test_a_log_holds_nothing_that_a_server_wrote() -> None:
    assert loggable_reason(MCPError(-32603, "geheim")) == "answered with the error -32603"
    assert loggable_reason(RuntimeError("geheim")) == "failed: RuntimeError"
    assert loggable_reason(ConnectionLostError("exited with status 1")) == "exited with status 1"


def test_a_missing_command_is_hopeless() -> None:
    error = FileNotFoundError(errno.ENOENT, "No such file or directory", "npx")
    assert is_hopeless(ExceptionGroup("one", [error]))
    assert reason_of(error) == "cannot be started: No such file or directory: npx"
