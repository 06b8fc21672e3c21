"""The MCP servers of a running host, asked by bare HTTP: as the seed's ``curl`` lines do it, and as nobody should."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from tests.support.mcp_peers import free_port
from tests.support.serving import ServedHost

BOTH = {"Accept": "application/json, text/event-stream"}
GREETING = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}


def call(tool: str, **arguments: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_examples_of_the_seed(nano_host: ServedHost) -> None:
    first = call("chat_completion", session_id="user-123", messages=said("My name is Alice"), temperature=0)
    second = call("chat_completion", session_id="user-123", messages=said("What is my name?"), temperature=0)
    for request in (first, second):
        del request["jsonrpc"], request["id"]
        # As `curl -d` sends it.
        form = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "*/*"}
        answer = nano_host.http.post("/mcp/llm", content=json.dumps(request), headers=form)
        assert answer.headers["content-type"] == "application/json"
    assert "Alice" in answer.json()["result"]["content"][0]["text"]
    info = nano_host.http.post("/mcp", json=call("model_info")).json()["result"]
    assert info["structuredContent"]["model_name"] == "modelhost-nano"


def test_session_ends_when_the_client_says_so(scripted_host: ServedHost) -> None:
    http = scripted_host.http
    greeting = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": GREETING}
    session = {"Mcp-Session-Id": http.post("/mcp", json=greeting, headers=BOTH).headers["mcp-session-id"], **BOTH}
    listing = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    assert http.post("/mcp", json=listing, headers=session).status_code == 200
    assert http.delete("/mcp", headers=session).status_code == 200
    assert http.post("/mcp", json=listing, headers=session).status_code == 404
    assert http.post("/mcp/llm", json=listing, headers=session).status_code == 404


def test_other_methods_and_paths_are_told(scripted_host: ServedHost) -> None:
    answer = scripted_host.http.put("/mcp", json={})
    assert (answer.status_code, answer.headers["allow"]) == (405, "DELETE, GET, HEAD, POST")
    assert (answer.json()["jsonrpc"], answer.json()["error"]["data"]["code"]) == ("2.0", "method_not_allowed")
    assert scripted_host.http.post("/mcp/none", json={}).status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example", "Origin": "http://evil.example"},
        {"Origin": "http://evil.example"},
        {"Host": "evil.example:80", "Mcp-Protocol-Version": "2026-07-28"},
    ],
)
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_names_that_are_not_this_machines_are_refused(
    scripted_host: ServedHost, headers: dict[str, str], method: str
) -> None:
    answer = scripted_host.http.request(method, "/mcp", headers=headers)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["data"]["code"]) == (403, -32600, "foreign_origin")


def test_name_that_is_allowed_may_be_used(start_host: Callable[..., ServedHost]) -> None:
    host = start_host(engine="scripted", allow_origin=["https://host.example"])
    ping = {"id": 1, "method": "ping"}
    assert host.http.post("/mcp", json=ping, headers={"Host": "host.example"}).status_code == 200
    assert host.http.post("/mcp", json=ping, headers={"Host": "other.example"}).status_code == 403
    assert host.http.post("/mcp", json=ping, headers={"Host": "localhost:1"}).status_code == 200


def test_body_has_a_limit(start_host: Callable[..., ServedHost]) -> None:
    host = start_host(engine="scripted", max_body_mb=0.01)
    answer = host.http.post("/mcp", json=call("chat_completion", messages=said("x" * 20_000)))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, -32600)
    assert host.http.post("/mcp", json=call("model_info")).status_code == 200


def test_body_may_be_gzip_and_begin_with_a_byte_order_mark(scripted_host: ServedHost) -> None:
    ping = b'\xef\xbb\xbf{"jsonrpc": "2.0", "id": 1, "method": "ping"}'
    gzipped = {"Content-Encoding": "gzip"}
    assert scripted_host.http.post("/mcp", content=ping).json()["id"] == 1
    assert scripted_host.http.post("/mcp", content=gzip.compress(ping), headers=gzipped).json()["id"] == 1
    broken = scripted_host.http.post("/mcp", content=ping, headers=gzipped)
    assert (broken.status_code, broken.json()["error"]["data"]["code"]) == (400, "invalid_request")


@pytest.mark.promise("mistralrs.mcp.port")
def test_own_port_has_the_servers_and_nothing_else(start_host: Callable[..., ServedHost]) -> None:
    port = free_port()
    host = start_host(engine="scripted", mcp_port=port, api_keys=["k"])
    headers = {"Authorization": "Bearer k"}
    apart = f"http://127.0.0.1:{port}"
    ping = {"id": 1, "method": "ping"}
    assert httpx2.post(f"{apart}/mcp/models", json=ping, headers=headers, trust_env=False).status_code == 200
    assert httpx2.post(f"{apart}/mcp", json=ping, trust_env=False).status_code == 401
    assert httpx2.get(f"{apart}/v1/models", headers=headers, trust_env=False).status_code == 404
    assert host.http.post("/mcp", json=ping).status_code == 404
    assert host.http.get("/v1/models").status_code == 200


def test_host_that_stops_ends_open_streams_at_once(start_host: Callable[..., ServedHost]) -> None:
    host = start_host(engine="scripted", shutdown_timeout=600)
    greeting = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": GREETING}
    session = {"Mcp-Session-Id": host.http.post("/mcp", json=greeting, headers=BOTH).headers["mcp-session-id"]}
    with host.http.stream("GET", "/mcp", headers={**session, "Accept": "text/event-stream"}) as stream:
        assert stream.status_code == 200
        host.send_signal(signal.SIGTERM)
        assert b"".join(stream.iter_bytes()) == b""
        assert host.wait() == 0


def test_host_that_stops_lets_a_call_finish(start_host: Callable[..., ServedHost]) -> None:
    host = start_host(engine="scripted", slots=1)
    headers = {**BOTH}
    greeting = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": GREETING}
    headers["Mcp-Session-Id"] = host.http.post("/mcp", json=greeting, headers=BOTH).headers["mcp-session-id"]
    host.http.post("/mcp", json={"jsonrpc": "2.0", "method": "notifications/initialized"}, headers=headers)
    slow = call("chat_completion", messages=said("/slow 10 /tokens 20 go"))
    with host.http.stream("POST", "/mcp", json=slow, headers=headers) as stream:
        host.wait_for_metric("modelhost_slots_in_use", 1)
        host.send_signal(signal.SIGTERM)
        assert '"isError":false' in "".join(stream.iter_text()).replace(" ", "")
    assert host.wait() == 0


def test_host_that_is_never_asked_does_not_load_the_sdk() -> None:
    # Half a second, and 20 MB.
    program = """
import sys, modelhost.http.server
print({name.partition(".")[0] for name in sys.modules} & {"mcp", "mcp_types"})
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"
