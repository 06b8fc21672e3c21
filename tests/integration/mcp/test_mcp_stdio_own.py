"""``modelhost mcp`` with a host of its own, over real pipes."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.compatibility.examples import text_of
from tests.support.eventually import eventually
from tests.support.hub import Repository, serve_hub
from tests.support.mcp_stdio import SCRIPTED, StdioServer, command, environment, own_host, stdio_server
from tests.support.processes import MARK, is_alive, is_worker
from tests.support.registries import NANO, scripted, write_registry

SEED_LINES = [line for line in text_of("vllm-mcp/direct.sh").splitlines() if line.startswith("echo")]
GATE = "hf_gate"
LONG = "/slow 20 /tokens 400 go"
Start = Callable[..., StdioServer]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts ``modelhost mcp llm`` with a host of its own: ``start(engine="scripted", VLLM_DTYPE="half")``."""
    started: list[StdioServer] = []

    def begin(face: str = "llm", **given: str) -> StdioServer:
        variables = {key: value for key, value in given.items() if key.isupper()}
        settings = {key: value for key, value in given.items() if not key.isupper()}
        started.append(StdioServer(face, *own_host(tmp_path, **settings), cwd=tmp_path, **variables))
        return started[-1]

    yield begin
    for server in started:
        server.close()


@pytest.fixture(name="scripted")
def _scripted_server(start: Start) -> StdioServer:
    return start(engine="scripted", alias="scripted")


@pytest.mark.promise("vllm-mcp.stdio", "vllm-mcp.direct.initialize", "vllm-mcp.direct.list", "vllm-mcp.direct.chat")
@pytest.mark.parametrize("line", SEED_LINES)
def test_the_lines_of_the_seed_are_answered_to_the_letter(line: str, tmp_path: Path) -> None:
    assert len(SEED_LINES) == 3
    ours = line.replace("python vllm_server.py", shlex.join(command("mcp", "llm")))
    assert ours != line
    done = subprocess.run(
        ["sh", "-c", ours],
        cwd=tmp_path,
        env=environment(MODELHOST_DATA_DIR=str(tmp_path / "data")),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    (answer,) = map(json.loads, done.stdout.splitlines())
    result = answer["result"]
    if answer["id"] == 1:
        assert result["serverInfo"]["name"] == "modelhost-llm"
    elif answer["id"] == 2:
        assert [tool["name"] for tool in result["tools"]] == ["chat_completion", "model_info"]
    else:
        assert result["content"][0]["text"]
        assert result["structuredContent"]["content"] == result["content"][0]["text"]
        assert 0 < result["structuredContent"]["usage"]["completion_tokens"] <= 50


@pytest.mark.promise("vllm-mcp.trouble.silent")
def test_the_handshake_waits_for_no_model(start: Start) -> None:
    server = start()
    server.greet()
    assert server.ask("tools/list")["result"]["tools"]
    assert [member for member in server.members() if is_worker(member)] == []


@pytest.mark.promise("vllm-mcp.no-persistence")
def test_a_conversation_is_remembered_and_survives_a_restart(start: Start) -> None:
    first = start()
    first.greet()
    first.chat("My name is Alice", session_id="user-123", temperature=0)
    assert "Alice" in first.chat("What is my name?", session_id="user-123", temperature=0)
    first.close()
    second = start()
    assert "Alice" in second.chat("What is my name?", session_id="user-123", temperature=0)
    assert second.call("model_info")["structuredContent"]["active_sessions"] == 1


def test_calls_without_ids_and_versions_are_answered(scripted: StdioServer) -> None:
    scripted.say({"method": "tools/call", "params": {"name": "model_info", "arguments": {}}})
    answer = scripted.line()
    assert answer["id"] is None
    assert answer["result"]["structuredContent"]["model_name"] == "scripted"


@pytest.mark.promise("vllm-mcp.errors.parse", "vllm-mcp.errors.method")
def test_broken_lines_are_answered_and_harm_nothing(scripted: StdioServer) -> None:
    for line, code in (("hello", -32700), ("[]", -32600), ('{"id": 9}', -32600)):
        scripted.say(line)
        assert scripted.line()["error"]["code"] == code
    scripted.say("")
    assert scripted.ask("ping")["result"] == {}
    scripted.say('{"jsonrpc":"2.0","id":10,"method":"tools/call","params":{"name":"none","arguments":{}}}')
    assert scripted.line()["error"]["code"] == -32602
    assert scripted.ask("no/such/method")["error"]["code"] == -32601
    assert scripted.chat("/echo still here") == "still here"


@pytest.mark.promise("vllm-mcp.sequential")
def test_requests_do_not_wait_for_each_other(scripted: StdioServer) -> None:
    scripted.greet()
    scripted.chat("Hi")
    for key, text in (("slow", "/slow 5 /tokens 20 go"), ("fast", "/echo fast")):
        scripted.say(
            {
                "jsonrpc": "2.0",
                "id": key,
                "method": "tools/call",
                "params": {
                    "name": "chat_completion",
                    "arguments": {"messages": [{"role": "user", "content": text}]},
                },
            }
        )
    assert [scripted.line()["id"] for _ in range(2)] == ["fast", "slow"]


def test_calls_at_work_are_finished_when_the_input_ends(scripted: StdioServer) -> None:
    for key in range(3):
        scripted.say(
            {
                "id": key,
                "method": "tools/call",
                "params": {
                    "name": "chat_completion",
                    "arguments": {"messages": [{"role": "user", "content": "/slow 40 /tokens 20 go"}]},
                },
            }
        )
    scripted.stdin.close()
    assert {scripted.line()["id"] for _ in range(3)} == {0, 1, 2}
    assert scripted.stdout.read() == ""
    assert scripted.process.wait(20) == 0
    eventually(scripted.is_gone)


def test_an_input_of_nothing_is_an_end(start: Start) -> None:
    server = start()
    server.stdin.close()
    assert server.process.wait(20) == 0


@pytest.mark.promise("vllm-mcp.shutdown")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_the_middle_of_a_call(scripted: StdioServer, number: signal.Signals) -> None:
    scripted.greet()
    begin_long_call(scripted)
    scripted.process.send_signal(number)
    assert scripted.process.wait(20) == 0
    eventually(scripted.is_gone)
    answer = next(line for line in iter(scripted.line, None) if "id" in line)  # after news of its progress
    assert (answer["id"], answer["error"]["code"]) == ("long", -32000)


def begin_long_call(server: StdioServer) -> psutil.Process:
    """A call that takes many seconds is at work; its worker."""
    server.say(
        {
            "jsonrpc": "2.0",
            "id": "long",
            "method": "tools/call",
            "params": {
                "name": "chat_completion",
                "arguments": {"messages": [{"role": "user", "content": LONG}]},
                "_meta": {"progressToken": "p"},
            },
        }
    )
    while "message" not in (notification := server.line())["params"]:  # the model is being loaded
        assert notification["method"] == "notifications/progress"
    return server.worker()


def test_an_output_that_nobody_reads_any_more_is_an_end(scripted: StdioServer) -> None:
    scripted.greet()
    scripted.say(
        {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": "chat_completion", "arguments": {"messages": [{"role": "user", "content": LONG}]}},
        }
    )
    scripted.worker()
    scripted.stdout.close()
    scripted.process.wait(20)
    eventually(scripted.is_gone)


@pytest.mark.promise("vllm-mcp.shutdown")
def test_no_worker_outlives_a_killed_server(scripted: StdioServer) -> None:
    scripted.greet()
    worker = begin_long_call(scripted)
    scripted.process.kill()
    scripted.process.wait(20)
    eventually(lambda: not is_alive(worker.pid))


@pytest.mark.promise("vllm-mcp.in-process")
def test_the_call_after_the_end_of_its_worker_is_answered(scripted: StdioServer) -> None:
    scripted.greet()
    worker = begin_long_call(scripted)
    worker.kill()
    while (answer := scripted.line()).get("id") != "long":
        pass
    error = answer["result"]["structuredContent"]
    assert (error["success"], error["error"]["code"]) == (False, "WORKER_CRASHED")
    assert error["error"]["details"]["suggestion"]
    assert scripted.chat("/echo here again") == "here again"


@pytest.mark.promise("vllm-mcp.debug")
def test_200_calls_do_not_need_anybody_to_read_the_log(start: Start) -> None:
    server = start(engine="scripted", alias="scripted", VLLM_LOG_LEVEL="DEBUG")
    server.greet()
    for number in range(200):
        assert server.chat(f"/echo {number}") == str(number)
    assert server.process.stderr is not None
    os.set_blocking(server.process.stderr.fileno(), False)
    log = server.process.stderr.read()
    assert len(log) > 30_000, "there was not enough to fill the pipe"


def test_it_is_quiet_unless_told(start: Start) -> None:
    server = start(engine="scripted", alias="scripted")
    server.greet()
    for _ in range(3):
        server.chat("Hi")
    server.stdin.close()
    assert server.process.wait(20) == 0
    assert server.process.stderr is not None
    said = server.process.stderr.read().splitlines()
    assert [line for line in said if MARK not in line] == []


def test_files_serve_as_input_and_output(tmp_path: Path) -> None:
    asked, said = tmp_path / "asked", tmp_path / "said"
    asked.write_text('{"id": 1, "method": "ping"}\n{"id": 2, "method": "tools/list"}')
    with asked.open() as stdin, said.open("w") as stdout:
        subprocess.run(
            command("mcp", "state", *own_host(tmp_path)),
            stdin=stdin,
            stdout=stdout,
            cwd=tmp_path,
            env=environment(),
            timeout=60,
            check=True,
        )
    assert [json.loads(line)["id"] for line in said.read_text().splitlines()] == [1, 2]


@pytest.mark.promise("vllm-mcp.trouble.silent", "vllm-crush.logging.crush")
def test_what_is_printed_does_not_get_into_the_protocol(tmp_path: Path) -> None:
    program = (
        "import sys; import modelhost.mcp_servers.stdio as stdio\n"
        "serve = stdio.serve\n"
        "async def loud(*given):\n"
        "    print('LOUD'); import os; os.write(1, b'LOUDER'); os.system('echo LOUDEST')\n"
        "    await serve(*given)\n"
        "stdio.serve = loud\n"
        "from modelhost.cli.main import main; sys.exit(main(sys.argv[1:]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "mcp", "llm", *own_host(tmp_path)],
        input='{"id": 1, "method": "ping"}\n',
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(),
        timeout=60,
        check=True,
    )
    assert done.stdout == '{"jsonrpc":"2.0","id":1,"result":{}}\n'
    assert done.stderr == "LOUD\n"


@pytest.mark.promise("vllm-mcp.variables")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VLLM_DEFAULT_TEMPERATURE", "warm"),
        ("VLLM_MAX_MODEL_LEN", "0"),
        ("VLLM_GPU_MEMORY_UTILIZATION", "1.5"),
        ("VLLM_LOG_LEVEL", "LOUD"),
        ("VLLM_MAX_SESSIONS", "none"),
    ],
)
def test_a_bad_variable_is_named_and_ends_it(tmp_path: Path, name: str, value: str) -> None:
    done = subprocess.run(
        command("mcp", "llm", *own_host(tmp_path)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(**{name: value}),
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert name in done.stderr


@pytest.mark.promise(
    "vllm-mcp.variables",
    "vllm-mcp.variables.max-model-len",
    "vllm-mcp.variables.sessions",
    "vllm-mcp.variables.messages",
)
def test_the_variables_of_the_seed_set_the_model_and_the_defaults(start: Start) -> None:
    server = start(
        VLLM_MAX_MODEL_LEN="256",
        VLLM_GPU_MEMORY_UTILIZATION="0.5",
        VLLM_DEFAULT_MAX_TOKENS="3",
        VLLM_DEFAULT_TEMPERATURE="0",
        VLLM_MAX_SESSIONS="7",
        VLLM_MAX_SESSION_MESSAGES="9",
        VLLM_TENSOR_PARALLEL_SIZE="1",
        VLLM_DTYPE="float16",
    )
    usage = server.call("chat_completion", messages=[{"role": "user", "content": "Tell me about llamas."}])
    assert usage["structuredContent"]["usage"]["completion_tokens"] == 3
    assert usage["structuredContent"]["finish_reason"] == "length"
    info = server.call("model_info")["structuredContent"]
    assert info["max_model_len"] == 256
    assert info["gpu_memory_utilization"] == "0.5"
    assert (info["default_max_tokens"], info["default_temperature"]) == (3, 0)
    assert (info["max_sessions"], info["max_session_messages"]) == (7, 9)


@pytest.mark.promise("vllm-mcp.errors.load")
def test_a_model_that_is_not_there_is_an_error_of_the_call_and_not_of_the_start(start: Start) -> None:
    server = start(VLLM_MODEL_NAME="./none.gguf")
    server.greet()
    result = server.call("chat_completion", messages=[{"role": "user", "content": "Hi"}])
    assert result["isError"] is True
    error = result["structuredContent"]["error"]
    assert "none.gguf" in error["message"]
    assert (error["code"], error["details"]["reason"]) == ("MODEL_LOAD_FAILED", "MODEL_FILE_MISSING")


@pytest.mark.promise("vllm-mcp.info.before")
def test_model_info_tells_before_the_first_chat_what_the_model_will_be(start: Start) -> None:
    info = start().call("model_info")["structuredContent"]
    assert (info["model_name"], info["server_state"]) == ("modelhost-nano", "idle")
    assert (info["dtype"], info["max_model_len"]) == ("float16", 2048)


def test_model_info_of_a_model_that_cannot_be_loaded_is_an_error_before_the_first_chat(start: Start) -> None:
    info = start(VLLM_MODEL_NAME="./none.gguf").call("model_info")["structuredContent"]
    assert (info["model_name"], info["server_state"], info["max_model_len"]) == ("none", "error", None)


@pytest.mark.promise("vllm-mcp.token")
def test_a_gated_model_is_downloaded_with_the_token_of_the_seed_by_the_first_call(start: Start, tmp_path: Path) -> None:
    repository = Repository(files={"nano-F16.gguf": NANO.read_bytes()}, token=GATE)
    with serve_hub(**{"somebody/nano-GGUF": repository}) as hub:
        places = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "", "HF_TOKEN": ""}
        server = start(VLLM_MODEL_NAME="somebody/nano-GGUF", HUGGING_FACE_HUB_TOKEN=GATE, **places)
        server.greet()
        assert hub.bytes_served == 0
        assert server.chat("Hello!")
        assert f"Bearer {GATE}" in hub.tokens


@pytest.mark.promise("vllm-mcp.single-model")
def test_a_registry_in_its_directory_is_that_of_its_host(start: Start, tmp_path: Path) -> None:
    write_registry(tmp_path / "models.yaml", scripted("one"), scripted("two"), default_model="two")
    server = start("all")
    server.greet()
    models = server.call("list-models")["structuredContent"]["models"]
    assert [(model["id"], model["status"]) for model in models] == [("two", "unloaded"), ("one", "unloaded")]
    assert server.chat("/echo chosen", model="one") == "chosen"
    assert server.call("model_info")["structuredContent"]["model_name"] == "two"


def test_settings_of_the_environment_count_for_a_host_of_its_own(tmp_path: Path) -> None:
    with stdio_server("models", *own_host(tmp_path), cwd=tmp_path, **SCRIPTED) as server:
        server.greet()
        (model,) = server.call("list-models")["structuredContent"]["models"]
        assert (model["id"], model["status"]) == ("scripted", "unloaded")


def test_a_host_that_cannot_start_is_an_error_of_the_call_and_is_tried_again(start: Start, tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text("models: [{name: 7}]", "utf-8")
    server = start("models")
    server.greet()
    refused = server.call("list-models")
    assert refused["isError"] is True
    assert "models.yaml" in refused["structuredContent"]["error"]["message"]
    write_registry(tmp_path / "models.yaml", scripted("one"))
    (model,) = server.call("list-models")["structuredContent"]["models"]
    assert model["id"] == "one"
