"""``modelhost serve --llm-server`` as a user of LLM-Server runs it."""

from __future__ import annotations

import json
import re
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.eventually import eventually
from tests.support.llm_server import (
    COMMAND_OF_ANOTHER_DAY,
    LlmServer,
    config,
    environ,
    events_in,
    llm_server,
    refused,
)
from tests.support.mcp_peers import free_port
from tests.support.processes import is_alive
from tests.support.raw_http import read_all

EXAMPLES = Path(__file__).parents[3] / "examples" / "llm-server"
CLIENTS = 50
BRAVE_KEY = "brave-4711-0815-key"
TELLS_ITS_KEY = "import os, sys; sys.stderr.write('my key is ' + os.environ['BRAVE_API_KEY']); sys.exit(1)"
DAY_SECONDS = 24 * 3600


def scripted(folder: Path, *rules: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The config with an engine that does what the prompt says."""
    (folder / "script.json").write_text(json.dumps(rules))
    options = {"script": str(folder / "script.json"), "stderr_lines": 2}
    return config(folder, engine="scripted", engine_options=options, **{"model name": "scripted", **changes})


def with_key(command: str = TELLS_ITS_KEY) -> dict[str, Any]:
    """A server that is given a secret."""
    return {
        "brave-search": {
            "type": "stdio",
            "command": sys.executable,
            "args": ["-c", command],
            "env": {"BRAVE_API_KEY": "${BRAVE_API_KEY}"},
        }
    }


def names(server: LlmServer, *events: str) -> list[str]:
    return [line["event"] for line in server.events(*events)]


@pytest.mark.promise("llm-server.servers.all", "llm-server.concurrency", "llm-server.stop", "llm-server.no-rate-limit")
def test_config_of_the_seed_with_two_servers_of_npm_and_fifty_clients_at_once(tmp_path: Path) -> None:
    document = config(tmp_path)
    # All tools of both are 1,500 tokens, which each of fifty prompts would have read at once.
    document["servers"]["filesystem"]["allowed_tools"] = ["read_text_file", "list_directory"]
    document["servers"]["everything"]["allowed_tools"] = ["echo", "get-sum"]
    with llm_server(tmp_path, document) as server:
        tools = {each["name"]: each["state"] for each in server.http.get("/v1/mcp/servers").json()["data"]}
        assert tools == {"filesystem": "ready", "everything": "ready"}
        with ThreadPoolExecutor(CLIENTS) as pool:
            answers = list(pool.map(lambda number: server.ask(f"Hello, I am client {number}."), range(CLIENTS)))
        assert [answer.status_code for answer in answers] == [200] * CLIENTS
        assert all(list(answer.json()) == ["response"] and answer.json()["response"] for answer in answers)
        children = psutil.Process(server.process.pid).children(recursive=True)
        assert len(children) >= 3  # a worker and two servers
        assert server.stop() == 0
    assert not any(is_alive(child.pid) for child in children)
    asked, said = server.events("prompt_received"), server.events("prompt_answered")
    assert {line["prompt"] for line in asked} == {f"Hello, I am client {number}." for number in range(CLIENTS)}
    assert sorted(line["request_id"] for line in said) == sorted(line["request_id"] for line in asked)
    assert {line["response"] for line in said} == {answer.json()["response"] for answer in answers}
    assert {line["server"] for line in server.events("mcp_server_log")} == {"filesystem", "everything"}


def test_the_example_runs_as_it_is(tmp_path: Path) -> None:
    example = json.loads((EXAMPLES / "config.json").read_text())
    with llm_server(tmp_path, {**example, "listening port": free_port(), "log filename": "server.log"}) as server:
        assert server.ask("Hello!").json()["response"]


@pytest.mark.promise("llm-server.log.contents", "llm-server.log.level")
@pytest.mark.parametrize("level", ["warning", "error"])
def test_the_level_leaves_requests_responses_errors_and_what_others_write_in_the_log(
    tmp_path: Path, level: str
) -> None:
    noisy = {"noisy": {"command": sys.executable, "args": ["-c", "import sys; sys.stderr.write('I cannot')"]}}
    document = scripted(tmp_path, servers=noisy, **{"log level": level})
    with llm_server(tmp_path, document) as server:
        assert server.ask("/echo yes").json() == {"response": "yes"}
        assert server.ask(" ").status_code == 400
        assert server.ask("/error 500 broken").status_code == 500
        server.stop()
    assert [line["prompt"] for line in server.events("prompt_received")] == ["/echo yes", "/error 500 broken"]
    assert [line["response"] for line in server.events("prompt_answered")] == ["yes"]
    refused_with = [line["code"] for line in server.events("prompt_refused")]
    assert (len(refused_with), refused_with[0]) == (2, "invalid_request")
    assert "I cannot" in [line["line"] for line in server.events("mcp_server_log")]
    assert server.events("worker_log")
    assert server.events("mcp_server_lost")
    assert not server.events("worker_ready", "listening", "request")


def test_a_sampling_value_that_the_engine_cannot_have_ends_it_before_the_model_is_loaded(tmp_path: Path) -> None:
    document = config(tmp_path, servers={}, min_p=0.05, **{"model name": "http://127.0.0.1:9/v1"})
    status, printed = refused(tmp_path, document)
    assert status == 1
    assert 'request default "min_p"' in printed
    assert '"fields" or "dialect"' in printed
    (line,) = events_in(tmp_path / "server.log")
    assert (line["event"], line["code"]) == ("ended", "config_error")


@pytest.mark.promise("llm-server.tools")
def test_the_tools_of_both_servers_are_used_for_a_prompt(tmp_path: Path) -> None:
    rule = {
        "match": "note",
        "tool_calls": [
            {"name": "filesystem_write_file", "arguments": {"path": str(tmp_path / "files/note"), "content": "milk"}},
            {"name": "everything_echo", "arguments": {"message": "noted"}},
        ],
        "text": "It is noted.",
    }
    with llm_server(tmp_path, scripted(tmp_path, rule)) as server:
        assert server.ask("Make a note.").json() == {"response": "It is noted."}
        assert (tmp_path / "files" / "note").read_text() == "milk"
        assert {line["line"] for line in server.events("worker_log")}


@pytest.mark.promise("llm-server.loading.first", "llm-server.loading.servers", "llm-server.start.order")
def test_servers_are_settled_before_the_model_is_loaded_and_that_before_it_listens(tmp_path: Path) -> None:
    slow = {"slow": {"command": sys.executable, "args": ["-c", "import time; time.sleep(60)"], "connect_timeout": 1.5}}
    document = scripted(tmp_path)
    document["servers"] = {**document["servers"], **slow}
    with llm_server(tmp_path, document) as server:
        eventually(lambda: server.events("listening"))  # written a moment after it does
        order = names(server, "mcp_server_ready", "mcp_server_lost", "worker_ready", "listening")
        assert sorted(order[:3]) == ["mcp_server_lost", "mcp_server_ready", "mcp_server_ready"]
        assert order[3:5] == ["worker_ready", "listening"]
        assert server.ask("/echo yes").json() == {"response": "yes"}


@pytest.mark.promise("llm-server.servers.unavailable")
def test_a_server_that_is_not_there_is_logged_and_the_rest_goes_on(tmp_path: Path) -> None:
    document = scripted(tmp_path)
    document["servers"] = {"gone": {"command": "no-such-program"}, "everything": document["servers"]["everything"]}
    with llm_server(tmp_path, document) as server:
        (lost,) = server.events("mcp_server_lost")
        assert (lost["server"], lost["level"]) == ("gone", "warning")
        assert "no-such-program" in lost["reason"]
        assert server.ask('/call everything_echo {"message": "x"}').status_code == 200


@pytest.mark.promise("llm-server.servers.crash")
def test_a_server_that_dies_in_the_middle_is_logged_and_prompts_go_on(tmp_path: Path) -> None:
    with llm_server(tmp_path, scripted(tmp_path)) as server:
        (victim,) = [
            child
            for child in psutil.Process(server.process.pid).children(recursive=True)
            if any("server-everything" in part for part in child.cmdline())
        ]
        victim.kill()
        eventually(lambda: server.events("mcp_server_lost"))
        answer = server.ask(f'/call filesystem_list_directory {{"path": "{tmp_path / "files"}"}}')
        assert answer.status_code == 200
        assert server.events("mcp_server_lost")[0]["server"] == "everything"


@pytest.mark.promise("llm-server.stop.in-flight")
def test_sigterm_in_the_middle_lets_fifty_prompts_finish_and_takes_no_more(tmp_path: Path) -> None:
    document = scripted(tmp_path)
    with llm_server(tmp_path, document) as server, ThreadPoolExecutor(CLIENTS) as pool:
        pending = [pool.submit(server.ask, f"/delay 3 /echo {number}") for number in range(CLIENTS)]
        eventually(lambda: len(server.events("prompt_received")) == CLIENTS, seconds=30)
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: server.events("stopping"))
        eventually(lambda: not _listens(document["listening port"]))
        assert not any(future.done() for future in pending)
        assert [future.result().json()["response"] for future in pending] == [str(each) for each in range(CLIENTS)]
        assert server.process.wait(30) == 0
    assert names(server)[-1] == "stopped"
    assert len(server.events("prompt_answered")) == CLIENTS


def _listens(port: int) -> bool:
    with socket.socket() as knocking:
        return knocking.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.promise("llm-server.log.daily")
def test_at_midnight_the_log_of_the_day_is_put_away(tmp_path: Path) -> None:
    ahead = tmp_path / "ahead"
    ahead.write_text("0")
    with llm_server(tmp_path, scripted(tmp_path), command=COMMAND_OF_ANOTHER_DAY) as server:
        server.ask("/echo today")
        eventually(lambda: server.events("request"))
        ahead.write_text(str(DAY_SECONDS))
        server.ask("/echo tomorrow")
        eventually(lambda: [line["response"] for line in server.events("prompt_answered")] == ["tomorrow"])
        today = _day_of(events_in(_put_away(tmp_path))[-1])
        assert _put_away(tmp_path).name == f"server.log-{today:%Y%m%d}"
        assert [line["response"] for line in events_in(_put_away(tmp_path), "prompt_answered")] == ["today"]
        assert _day_of(server.events("prompt_answered")[0]) == today + timedelta(days=1)


def _put_away(folder: Path) -> Path:
    (file,) = [file for file in folder.iterdir() if re.fullmatch(r"server\.log-\d{8}", file.name)]
    return file


def _day_of(line: dict[str, Any]) -> date:
    return datetime.fromisoformat(line["timestamp"]).date()


@pytest.mark.promise("llm-server.secrets")
@pytest.mark.parametrize("source", ["environment", ".env"])
def test_a_secret_of_a_server_comes_from_either_place_and_is_in_no_log(tmp_path: Path, source: str) -> None:
    if source == ".env":
        (tmp_path / ".env").write_text(f"BRAVE_API_KEY={BRAVE_KEY}\n")
    env = environ(BRAVE_API_KEY=BRAVE_KEY) if source == "environment" else environ()
    with llm_server(tmp_path, scripted(tmp_path, servers=with_key()), env=env) as server:
        server.ask(f"/echo is your key {BRAVE_KEY}?")
        assert server.ask(f"/error 500 {BRAVE_KEY}").status_code == 500
        server.stop()
    said = [line["line"] for line in server.events("mcp_server_log")]
    assert "my key is [redacted]" in said
    for file in tmp_path.iterdir():
        if file.name in ("server.log", "stderr", "config.json"):
            assert BRAVE_KEY not in file.read_text(), file


@pytest.mark.promise("llm-server.secrets.nowhere")
def test_a_secret_that_is_nowhere_is_an_error_in_the_log(tmp_path: Path) -> None:
    status, printed = refused(tmp_path, scripted(tmp_path, servers=with_key()))
    assert status == 1
    assert "the environment variable BRAVE_API_KEY is not set, nor is it in .env" in printed
    (line,) = events_in(tmp_path / "server.log")
    assert (line["event"], line["level"]) == ("ended", "error")
    assert "BRAVE_API_KEY" in line["reason"]


@pytest.mark.promise("llm-server.config.required", "llm-server.config.port-missing", "llm-server.errors.values")
def test_missing_values_are_named_in_the_log_all_at_once(tmp_path: Path) -> None:
    document = config(tmp_path, **{"listening port": ..., "model name": ..., "top_p": ...})
    status, printed = refused(tmp_path, document)
    assert status == 1
    (line,) = events_in(tmp_path / "server.log")
    for key in ("listening port", "model name", "top_p"):
        assert f'"{key}" is missing' in line["reason"]
        assert f'"{key}" is missing' in printed


@pytest.mark.promise("llm-server.config.log-missing")
def test_a_missing_log_filename_is_printed(tmp_path: Path) -> None:
    status, printed = refused(tmp_path, config(tmp_path, **{"log filename": ...}))
    assert (status, printed) == (1, 'error: config.json: "log filename" is missing\n')
    assert not (tmp_path / "server.log").exists()


def test_a_log_file_that_cannot_be_written_is_printed(tmp_path: Path) -> None:
    status, printed = refused(tmp_path, config(tmp_path, **{"log filename": str(tmp_path / "no" / "server.log")}))
    assert status == 1
    assert "cannot write to the log file" in printed


@pytest.mark.promise("llm-server.loading.failure", "llm-server.errors.logged", "llm-server.errors.model")
def test_a_bad_model_name_is_logged_and_ends_it(tmp_path: Path) -> None:
    status, printed = refused(tmp_path, config(tmp_path, servers={}, **{"model name": "./no-such-model.gguf"}))
    assert status == 1
    line = events_in(tmp_path / "server.log")[-1]
    assert (line["event"], line["code"]) == ("ended", "model_file_missing")
    assert "no-such-model" in line["reason"]
    assert "no-such-model" in printed


@pytest.mark.promise("llm-server.errors.port")
def test_a_port_that_is_taken_is_logged_and_ends_it(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        document = scripted(tmp_path, servers={}, **{"listening port": other.getsockname()[1]})
        status, _ = refused(tmp_path, document)
    assert status == 1
    line = events_in(tmp_path / "server.log")[-1]
    assert (line["event"], line["code"]) == ("ended", "port_in_use")


def test_what_is_no_json_is_printed(tmp_path: Path) -> None:
    status, printed = refused(tmp_path, {})
    assert status == 1
    assert '"model name" is missing' in printed


def test_a_file_of_another_name_is_known_by_its_keys(tmp_path: Path) -> None:
    document = scripted(tmp_path, servers={})
    (tmp_path / "mine.json").write_text(json.dumps(document))
    command = (sys.executable, "-m", "modelhost", "serve", "--config", "mine.json", "--only-prompt")
    with llm_server(tmp_path, document, command=command) as server:
        (tmp_path / "config.json").unlink()
        assert server.ask("/echo yes").json() == {"response": "yes"}
        assert server.http.get("/v1/models").status_code == 404


@pytest.mark.promise("llm-server.config.folder")
def test_without_a_word_the_file_is_used_and_the_first_line_says_so(tmp_path: Path) -> None:
    gone = {"gone": {"command": "no-such-program"}}
    document = scripted(tmp_path, servers=gone, host="0.0.0.0", insecure=True)  # noqa: S104
    with llm_server(tmp_path, document, command=(sys.executable, "-m", "modelhost", "serve")) as server:
        first = (tmp_path / "stderr").read_text().splitlines()[0]
        assert first == "config.json of LLM-Server is here and is used (--no-llm-server: do without it)"
        assert server.ask("/echo yes").json() == {"response": "yes"}


def test_servers_for_everybody_are_refused_with_the_line_to_add(tmp_path: Path) -> None:
    document = config(tmp_path, host="0.0.0.0")  # noqa: S104
    status, printed = refused(tmp_path, document)
    assert status == 1
    assert 'the line "insecure": true' in printed
    assert 'the line "insecure": true' in events_in(tmp_path / "server.log")[-1]["reason"]


def test_there_are_the_statuses_of_the_contract_and_those_of_the_edge(tmp_path: Path) -> None:
    document = scripted(tmp_path, servers={}, max_connections=2, body_timeout=0.5)
    with llm_server(tmp_path, document) as server:
        prompt = b'{"prompt": "/echo yes"}'
        taken = server.http.get("/")
        assert (taken.status_code, taken.headers["allow"], list(taken.json())) == (405, "POST", ["Error"])
        assert server.http.post("/", content=prompt, headers={"Content-Encoding": "br"}).status_code == 400
        assert server.http.post("/", content=prompt, headers={"Host": "elsewhere.example"}).status_code == 403
        assert server.http.post("/", content=prompt, headers={"X": "x" * 20_000}).status_code == 431
        server.http.close()
        head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\n"
        status, body = _said(server.port, head)
        assert (status, list(body)) == (400, ["Error"])
        with socket.create_connection(("127.0.0.1", server.port)), socket.create_connection(("127.0.0.1", server.port)):
            status, body = _said(server.port, b"")
        assert (status, list(body)) == (503, ["Error"])


def _said(port: int, sent: bytes) -> tuple[int, dict[str, Any]]:
    """The status and the body with which ``sent``, which is no whole request, is answered."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(sent)
        head, _, body = read_all(connection).partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)
