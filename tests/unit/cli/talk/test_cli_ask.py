"""``modelhost ask``, from the command line to the host or to a model of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from modelhost.cli.main import app, main
from modelhost.cli.talk import options


def test_the_answer_of_a_host_is_printed_with_a_newline(host: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", "--url", host.url, "Hi", "there"]) == 0
    assert capsys.readouterr().out == "Hello.\n"
    body = host.requests[-1][2]
    assert body == {"model": "first", "messages": [{"role": "user", "content": "Hi there"}], "stream": True}


def test_options_become_request_fields(host: Any) -> None:
    flags = ["--model", "second", "--system", "Be brief.", "--temperature", "0", "--max-tokens", "5", "--seed", "7"]
    assert main(["ask", "--url", host.url, "--api-key", "sesame", *flags, "Hi"]) == 0
    _, headers, body = host.requests[-1]
    assert headers["Authorization"] == "Bearer sesame"
    assert body.pop("messages")[0] == {"role": "system", "content": "Be brief."}
    assert body == {"model": "second", "temperature": 0.0, "max_tokens": 5, "seed": 7, "stream": True}


def test_json_prints_the_whole_completion(host: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", "--url", host.url, "--json", "Hi"]) == 0
    assert json.loads(capsys.readouterr().out) == host.answer.body


def test_the_environment_names_host_and_key(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELHOST_URL", host.url)
    monkeypatch.setenv("MODELHOST_API_KEY", "sesame")
    assert main(["ask", "Hi"]) == 0
    assert host.requests[-1][1]["Authorization"] == "Bearer sesame"


def test_an_error_of_the_host_is_a_sentence_and_exit_code_1(host: Any, capsys: pytest.CaptureFixture[str]) -> None:
    host.answer.status, host.answer.body = 404, {"error": {"message": "no such model", "code": "model_not_found"}}
    assert main(["ask", "--url", host.url, "Hi"]) == 1
    assert capsys.readouterr().err == "error: no such model\n"


def test_an_answer_that_breaks_off_exits_1_after_what_came(host: Any, capsys: pytest.CaptureFixture[str]) -> None:
    host.answer.stream, host.answer.breaks_off = host.answer.stream[:1], True
    assert main(["ask", "--url", host.url, "Hi"]) == 1
    printed = capsys.readouterr()
    assert printed.out == "Hel"
    assert "went away in the middle of the answer" in printed.err


def test_an_answer_cut_off_by_the_limit_is_marked(host: Any, capsys: pytest.CaptureFixture[str]) -> None:
    host.answer.stream = [part.replace(b'"stop"', b'"length"') for part in host.answer.stream]
    assert main(["ask", "--url", host.url, "Hi"]) == 0
    assert "cut off" in capsys.readouterr().err


def test_a_named_host_that_does_not_answer_is_an_error_and_not_replaced(
    own_llm: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ask", "--url", "http://127.0.0.1:9", "Hi"]) == 1
    assert "no modelhost answers at http://127.0.0.1:9" in capsys.readouterr().err
    assert own_llm.started == []


def test_a_host_on_this_machine_is_found(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "DEFAULT_URL", host.url)
    assert main(["ask", "Hi"]) == 0
    assert [path for path, _, _ in host.requests] == ["/version", "/v1/models", "/v1/chat/completions"]


def test_something_else_at_the_default_address_is_not_asked(
    host: Any, own_llm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.name = "something else"
    monkeypatch.setattr(options, "DEFAULT_URL", host.url)
    assert main(["ask", "Hi"]) == 0
    assert own_llm.started == [None]


def test_without_a_host_a_model_of_its_own_answers_and_is_stopped(
    own_llm: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ask", "--model", "org/name", "--seed", "1", "Hi"]) == 0
    assert capsys.readouterr().out == "Own words.\n"
    assert own_llm.started == own_llm.stopped == ["org/name"]
    assert own_llm.asked == [([{"role": "user", "content": "Hi"}], {"model": "own", "seed": 1})]


def test_json_of_a_model_of_its_own_is_the_raw_completion(own_llm: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", "--json", "Hi"]) == 0
    assert json.loads(capsys.readouterr().out)["choices"][0]["message"]["content"] == "Own words."
    assert own_llm.asked[0][1] == {"model": "own"}


def test_a_model_file_is_served_by_the_command_even_beside_a_running_host(
    host: Any, own_llm: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(options, "DEFAULT_URL", host.url)
    (tmp_path / "a.gguf").touch()
    assert main(["ask", "--model", "a.gguf", "Hi"]) == 0
    assert own_llm.started == ["a.gguf"]
    assert host.requests == []


def test_a_model_of_its_own_has_the_settings_that_serve_would_have(
    own_llm: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "modelhost.yaml").write_text("threads: 1\nmodel: org/name\n")
    monkeypatch.setenv("MODELHOST_SLOTS", "2")
    assert main(["ask", "Hi"]) == 0
    assert own_llm.started == ["org/name"]
    assert own_llm.configured == [{"threads": 1, "slots": 2}]


def test_logs_below_a_warning_stay_out_of_the_answer_unless_asked_for(
    own_llm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["ask", "Hi"]) == 0
    monkeypatch.setenv("MODELHOST_LOG_LEVEL", "debug")
    assert main(["ask", "Hi"]) == 0
    assert own_llm.log_levels == ["warning", "debug"]


@pytest.mark.parametrize(
    ("words", "question"),
    [(["-"], "piped text"), ([], "piped text"), (["Summarize:", "-"], "Summarize: \n\npiped text"), (["Hi"], "Hi")],
)
def test_piped_text_is_the_question_or_takes_the_place_of_a_dash(host: Any, words: list[str], question: str) -> None:
    result = CliRunner().invoke(app, ["ask", "--url", host.url, *words], input="piped text\n")
    assert result.exit_code == 0, result.output
    assert host.requests[-1][2]["messages"] == [{"role": "user", "content": question}]


def test_piped_bytes_that_are_not_text_are_a_usage_error(host: Any) -> None:
    result = CliRunner().invoke(app, ["ask", "--url", host.url, "-"], input=b"\xff\xfe")
    assert result.exit_code == 2
    assert "not text" in result.output


def test_an_empty_question_is_a_usage_error(host: Any) -> None:
    result = CliRunner().invoke(app, ["ask", "--url", host.url], input="\n")
    assert result.exit_code == 2
    assert host.requests == []
