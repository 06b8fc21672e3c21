"""Lines of system prompts that are different in every request."""

from __future__ import annotations

import pytest

from modelhost.http.anthropic.conversation import without_changing_lines

LINE = "x-anthropic-billing-header: cc_version=2.1.37.fbe; cc_entrypoint=cli; cch=abc;"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (LINE, ""),
        (f"{LINE}\n", ""),
        (f"{LINE}\nYou are a coding agent.", "You are a coding agent."),
        (f"You are a coding agent.\n{LINE}\nBe brief.", "You are a coding agent.\nBe brief."),
        (f"{LINE}\n{LINE}\nBe brief.", "Be brief."),
    ],
    ids=["alone", "with its end", "first", "between", "twice"],
)
def test_a_changing_line_is_removed(text: str, left: str) -> None:
    assert without_changing_lines([text, "More."]) == [left, "More."]


@pytest.mark.parametrize(
    "text", ["", "Be brief.\n", f"The line `{LINE}` is removed.", "x-anthropic-billing: cch=abc;", f" {LINE}"]
)
def test_everything_else_stays_as_it_is(text: str) -> None:
    assert without_changing_lines([text]) == [text]


def test_requests_that_differ_in_that_line_alone_have_the_same_prompt() -> None:
    one, other = ([LINE.replace("abc", changed), "Be brief."] for changed in ("0a1", "f39"))
    assert without_changing_lines(one) == without_changing_lines(other)
