"""``modelhost chat``: the loop with a scripted person and a scripted client, and the command as a whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from modelhost.cli.main import app
from modelhost.cli.talk.chat import Conversation, LineChat
from modelhost.cli.talk.person import TerminalUser
from modelhost.errors import QueueFull

NOBODY = TerminalUser(is_there=False)


def chat(
    client: Any, *lines: str | BaseException, system: str | None = None, person: TerminalUser | None = None
) -> Conversation:
    """Run a chat in which a person types ``lines`` (an exception: presses a key); the input ends after them."""
    typed = iter(lines)

    def read_line() -> str:
        line = next(typed, EOFError())
        if isinstance(line, BaseException):
            raise line
        return line

    conversation = Conversation(system=system)
    params = {"model": "small", "seed": 1}
    LineChat(client, conversation, params=params, read_line=read_line, person=person or NOBODY).run()
    return conversation


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def test_each_question_is_sent_with_what_was_said_before(
    fake_client: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    client = fake_client("Yes", "!")
    conversation = chat(client, "One?", "", "  Two?  ", system="Be brief.")
    assert capsys.readouterr().out == "Yes!\nYes!\n\n"
    system = {"role": "system", "content": "Be brief."}
    assert client.asked == [
        ([system, user("One?")], {"seed": 1, "model": "small"}),
        ([system, user("One?"), assistant("Yes!"), user("Two?")], {"seed": 1, "model": "small"}),
    ]
    assert len(conversation.turns) == 4


def test_ctrl_c_stops_an_answer_keeps_what_came_and_goes_on(fake_client: Callable[..., Any]) -> None:
    client = fake_client("Half", KeyboardInterrupt())
    conversation = chat(client, "One?", "/quit", "never read")
    assert conversation.turns == [user("One?"), assistant("Half")]
    assert client.is_closed


def test_ctrl_c_at_the_prompt_does_not_end_the_chat(fake_client: Callable[..., Any]) -> None:
    client = fake_client("Yes")
    assert chat(client, KeyboardInterrupt(), "One?").turns == [user("One?"), assistant("Yes")]


@pytest.mark.parametrize("end", ["/quit", "/exit"])
def test_quit_ends_the_chat(fake_client: Callable[..., Any], end: str) -> None:
    assert chat(fake_client("Yes"), end, "One?").turns == []


def test_an_error_is_printed_and_the_question_is_not_kept(
    fake_client: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    conversation = chat(fake_client(QueueFull("the queue is full")), "One?", "Two?")
    assert capsys.readouterr().err == "error: the queue is full\n" * 2
    assert conversation.turns == []


def test_clear_forgets_the_talk_and_keeps_the_system_message(fake_client: Callable[..., Any]) -> None:
    conversation = chat(fake_client("Yes"), "One?", "/clear", system="Be brief.")
    assert conversation.messages() == [{"role": "system", "content": "Be brief."}]


def test_system_sets_and_removes_the_system_message(fake_client: Callable[..., Any]) -> None:
    assert chat(fake_client(), "/system You are a pirate.").system == "You are a pirate."
    assert chat(fake_client(), "/system", system="Be brief.").system is None


def test_model_lists_and_switches(fake_client: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    client = fake_client("Yes")
    chat(client, "/model", "/model lagre", "/model large", "One?")
    printed = capsys.readouterr()
    assert printed.out.startswith("* small\n  large\n")
    assert 'there is no model lagre; did you mean "large"?' in printed.err
    assert client.asked[0][1]["model"] == "large"


def test_help_lists_every_command(fake_client: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    chat(fake_client(), "/help")
    listed = capsys.readouterr().out
    for name in ("/help", "/clear", "/system", "/model", "/save", "/quit"):
        assert name in listed


def test_an_unknown_command_is_not_sent_to_the_model(
    fake_client: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    client = fake_client("Yes")
    chat(client, "/claer")
    assert 'unknown command /claer; did you mean "/clear"?' in capsys.readouterr().err
    assert client.asked == []


def test_save_writes_json_or_markdown_by_the_name(fake_client: Callable[..., Any], tmp_path: Path) -> None:
    chat(fake_client("Yes"), "One?", f"/save {tmp_path}/talk.json", f"/save {tmp_path}/talk.md")
    assert json.loads((tmp_path / "talk.json").read_text()) == [user("One?"), assistant("Yes")]
    assert (tmp_path / "talk.md").read_text() == "**user:**\n\nOne?\n\n**assistant:**\n\nYes\n"


def test_save_overwrites_only_what_this_chat_saved(
    fake_client: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "theirs.md").write_text("precious")
    chat(fake_client("Yes"), "/save theirs.md", "/save mine.md", "One?", "/save mine.md", "/save", "/save no/dir.md")
    assert (tmp_path / "theirs.md").read_text() == "precious"
    assert "One?" in (tmp_path / "mine.md").read_text()
    assert capsys.readouterr().err.splitlines() == [
        "error: theirs.md is already there; choose another name",
        "error: where to? /save FILE",
        "error: cannot write no/dir.md: No such file or directory",
    ]


def test_the_command_talks_with_a_host_until_its_input_ends(host: Any) -> None:
    result = CliRunner().invoke(app, ["chat", "--url", host.url, "--system", "Be brief."], input="One?\nTwo?\n")
    assert result.exit_code == 0, result.output
    assert result.stdout == "Hello.\nHello.\n\n"
    assert [message["content"] for message in host.requests[-1][2]["messages"]] == [
        "Be brief.",
        "One?",
        "Hello.",
        "Two?",
    ]


def test_the_command_talks_with_a_model_of_its_own(own_llm: Any) -> None:
    result = CliRunner().invoke(app, ["chat"], input="One?\n/quit\n")
    assert result.exit_code == 0, result.output
    assert result.stdout == "Own words.\n"
    assert own_llm.stopped == [None]


def test_a_model_of_its_own_is_there_with_each_of_its_adapters(own_llm: Any) -> None:
    result = CliRunner().invoke(app, ["chat"], input="/model\n/model own:style\nOne?\n/quit\n")
    assert result.stdout.startswith("* own\n  own:style\ngoing on with own:style\n")
    assert own_llm.asked[0][1]["model"] == "own:style"
