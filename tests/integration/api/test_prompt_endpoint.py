"""``POST /``: a prompt in, a response out."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.serving import ServedHost, ServeFailed
from tests.support.tool_hosts import calls, servers_of
from tests.support.tool_hosts import scripted_host as host_with_tools

StartHost = Callable[..., ServedHost]


def ask(host: ServedHost, prompt: str, path: str = "/") -> httpx2.Response:
    return host.http.post(path, json={"prompt": prompt})


def error_of(answer: httpx2.Response) -> str:
    """The message of an error, which is all that its body may hold."""
    assert answer.headers["content-type"] == "application/json"
    found: dict[str, str] = answer.json()
    assert list(found) == ["Error"]
    return found["Error"]


@pytest.mark.promise("llm-server.response")
def test_a_prompt_gets_a_response(scripted_host: ServedHost) -> None:
    answer = ask(scripted_host, "/echo hello there")
    assert (answer.status_code, answer.json()) == (200, {"response": "hello there"})
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.promise("llm-server.request.prompt")
def test_the_bundled_model_answers(nano_host: ServedHost) -> None:
    assert ask(nano_host, "Hello!").json()["response"]


@pytest.mark.promise("llm-server.request.post")
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_any_other_method_is_refused(scripted_host: ServedHost, method: str) -> None:
    answer = scripted_host.http.request(method, "/")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert method in error_of(answer)


@pytest.mark.promise("llm-server.request.invalid")
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not valid JSON"),
        (b"prompt", "not valid JSON"),
        (b"\xff", "not valid JSON"),
        (b'"hello"', "JSON object"),
        (b"[]", "JSON object"),
        (b"{}", '"prompt" is missing'),
        (b'{"Prompt": "x"}', '"prompt" is missing'),
        (b'{"prompt": null}', "text"),
        (b'{"prompt": 5}', "text"),
        (b'{"prompt": ["a"]}', "text"),
        (b'{"prompt": " "}', "text"),
        (b'{"prompt": "x", "temperature": 1}', '"temperature"'),
    ],
)
def test_what_is_no_prompt_is_refused(scripted_host: ServedHost, body: bytes, said: str) -> None:
    answer = scripted_host.http.post("/", content=body)
    assert answer.status_code == 400
    assert said in error_of(answer)


@pytest.mark.promise("llm-server.request.size")
def test_a_body_over_ten_megabytes_is_refused_whether_it_says_its_length_or_not(scripted_host: ServedHost) -> None:
    large = json.dumps({"prompt": "x" * 10_000_000}).encode()
    parts = (large[at : at + 1_000_000] for at in range(0, len(large), 1_000_000))
    for content in (large, parts):
        answer = scripted_host.http.post("/", content=content)
        assert answer.status_code == 413
        assert "10000000 bytes" in error_of(answer)


@pytest.mark.promise("llm-server.response.error")
@pytest.mark.parametrize("command", ["/error 500", "/error 503", "/crash 0", "/malformed 0"])
def test_a_fault_of_the_engine_is_500(start_host: StartHost, command: str) -> None:
    host = start_host(engine="scripted")
    answer = ask(host, command)
    assert answer.status_code == 500
    assert error_of(answer)


@pytest.mark.promise("llm-server.stateless")
def test_nothing_is_remembered(start_host: StartHost) -> None:
    host = start_host(engine="scripted", context_length=100)
    assert {ask(host, "word " * 60).status_code for _ in range(3)} == {200}


@pytest.mark.promise("llm-server.concurrency")
def test_many_are_answered_at_the_same_time(scripted_host: ServedHost) -> None:
    def echoed(number: int) -> str:
        text: str = ask(scripted_host, f"/delay 0.5 /echo number {number}").json()["response"]
        return text

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(echoed, range(50)))
    assert answers == [f"number {number}" for number in range(50)]


@pytest.mark.promise("llm-server.config.system-prompt", "llm-server.config.temperature")
def test_the_system_prompt_and_the_defaults_reach_the_model(start_host: StartHost, tmp_path: Path) -> None:
    host = start_host(system_prompt="Answer with one word.", request_defaults={"temperature": 0, "max_tokens": 2})
    answers = {ask(host, "Tell me about the sea.").json()["response"] for _ in range(3)}
    assert len(answers) == 1  # at temperature 0 there is one answer
    own = host.http.post(
        "/v1/chat/completions",
        json={
            "messages": [
                {"role": "system", "content": "Answer with one word."},
                {"role": "user", "content": "Tell me about the sea."},
            ]
        },
    ).json()
    assert own["choices"][0]["message"]["content"] in answers
    assert own["usage"]["completion_tokens"] == 2


@pytest.mark.promise("llm-server.tools")
def test_the_tools_of_the_host_are_used(start_host: StartHost, tmp_path: Path) -> None:
    host = host_with_tools(start_host, tmp_path, [calls("four", ("stub_echo", {"text": "4"}), text="It is four.")])
    assert ask(host, "What is four?").json() == {"response": "It is four."}
    assert servers_of(host)["stub"]["calls"] == 1


def test_further_paths_take_prompts_too(start_host: StartHost) -> None:
    host = start_host(engine="scripted", prompt_path=["/ask", "/v2/prompt"])
    for path in ("/", "/ask", "/v2/prompt"):
        assert ask(host, "/echo yes", path).json() == {"response": "yes"}
        assert host.http.get(path).status_code == 405
    assert {"/", "/ask", "/v2/prompt"} <= host.http.get("/openapi.json").json()["paths"].keys()


def test_a_path_of_another_endpoint_cannot_take_prompts(start_host: StartHost) -> None:
    with pytest.raises(ServeFailed, match="prompt_path: /v1/completions is an endpoint of the host already"):
        start_host(engine="scripted", prompt_path=["/v1/completions"])


@pytest.mark.promise("llm-server.no-health-check")
def test_every_other_endpoint_is_there_unless_only_prompts_are_wanted(start_host: StartHost) -> None:
    beside = start_host(engine="scripted")
    assert ask(beside, "/echo yes").status_code == 200
    assert beside.http.get("/health").status_code == 200
    alone = start_host(engine="scripted", only_prompt=True)
    assert ask(alone, "/echo yes").json() == {"response": "yes"}
    for path in ("/health", "/v1/models", "/docs", "/metrics", "/openapi.json"):
        answer = alone.http.get(path)
        assert answer.status_code == 404
        assert path in error_of(answer)
    assert alone.http.post("/v1/chat/completions", json={}).status_code == 404


def test_a_key_is_asked_for_if_the_host_has_one(start_host: StartHost) -> None:
    host = start_host(engine="scripted", api_keys=["sesame-seeds"])
    assert ask(host, "/echo yes").status_code == 200
    answer = httpx2.post(f"{host.url}/", json={"prompt": "hello"}, trust_env=False)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert "API key" in error_of(answer)


def test_a_page_of_somebody_else_is_refused(scripted_host: ServedHost) -> None:
    answer = scripted_host.http.post("/", json={"prompt": "x"}, headers={"Origin": "http://evil.example"})
    assert answer.status_code == 403
    assert error_of(answer)


def test_without_a_model_of_the_settings_the_first_of_the_registry_answers(
    start_host: StartHost, tmp_path: Path
) -> None:
    registry = tmp_path / "models.yaml"
    registry.write_text("models:\n- {name: a, engine: scripted}\n")
    host = start_host(models_config=str(registry))
    assert ask(host, "/echo yes").json() == {"response": "yes"}


def test_prompts_are_counted(start_host: StartHost) -> None:
    host = start_host(engine="scripted")
    ask(host, "/echo yes")
    host.http.post("/", content=b"{}")
    labels: dict[str, Any] = {"operation": "prompt"}
    host.wait_for_metric("modelhost_requests_total", 1, status="200", **labels)
    host.wait_for_metric("modelhost_requests_total", 1, status="400", **labels)


def test_contents_are_in_no_log_of_an_ordinary_host(start_host: StartHost, tmp_path: Path) -> None:
    file = tmp_path / "host.log"
    host = start_host(engine="scripted", log_level="debug", log_file=str(file))
    ask(host, "/echo my diary")
    host.http.post("/", json={"prompt": "/error 500 my diary"})
    host.close()
    assert '"operation": "prompt"' in file.read_text()
    assert "diary" not in file.read_text() + file.name
