"""When traces are exported, and what becomes of them where no receiver is, or none is wanted."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.mcp_peers import free_port
from tests.support.registries import scripted, write_registry
from tests.support.serving import ServedHost
from tests.support.traces import QUICK, ClientTrace, TraceReceiver, trace_receiver

Start = Callable[..., ServedHost]
SCRIPTED: dict[str, Any] = {"engine": "scripted", "alias": ["scripted"]}
HELLO = {"messages": [{"role": "user", "content": "/echo hello"}]}


def chat(host: ServedHost, trace: ClientTrace) -> None:
    assert host.http.post("/v1/chat/completions", json=HELLO, headers=trace.fields).status_code == 200


def test_standard_variables_say_where_to_and_as_whom(receiver: TraceReceiver, start_host: Start) -> None:
    variables = {
        **QUICK,
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "OTEL_SERVICE_NAME": "my-host",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=lab",
    }
    trace = ClientTrace()
    chat(start_host(**SCRIPTED, environment=variables), trace)
    request, _ = receiver.of(trace, 2)
    named = ("service.name", "deployment.environment.name")
    assert [request.resource[name] for name in named] == ["my-host", "lab"]


def test_sampler_of_the_variables_decides_and_its_decision_is_passed_on(
    receiver: TraceReceiver, start_host: Start
) -> None:
    there = start_host(**SCRIPTED, environment=QUICK, otlp_endpoint=receiver.url)
    front = start_host(
        model=f"{there.url}/v1",
        alias=["here"],
        engine_options={"dialect": "modelhost"},
        environment={**QUICK, "OTEL_TRACES_SAMPLER": "always_off"},
        otlp_endpoint=receiver.url,
    )
    unsampled, sampled = ClientTrace(), ClientTrace()
    chat(front, unsampled)
    chat(there, sampled)
    receiver.of(sampled, 2)
    there.wait_for_metric("modelhost_requests_total", 2, operation="chat")
    (line,) = (line for line in there.log_events("request") if line["trace_id"] == unsampled.trace_id)
    assert line["span_id"] != unsampled.span_id
    for host in (front, there):
        host.close()  # exports what is left
    assert [span.name for span in receiver.spans if span.trace_id == unsampled.trace_id] == []


def test_end_of_a_host_exports_what_is_left(receiver: TraceReceiver, start_host: Start) -> None:
    trace = ClientTrace()
    host = start_host(**SCRIPTED, environment={"OTEL_BSP_SCHEDULE_DELAY": "600000"}, otlp_endpoint=receiver.url)
    chat(host, trace)
    host.close()
    assert receiver.tree(trace, 2) == [("POST /v1/chat/completions", [("chat scripted", [])])]


def test_missing_receiver_is_one_warning_and_delays_neither_requests_nor_the_end(start_host: Start) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    host = start_host(**SCRIPTED, environment={**QUICK, "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}, otlp_endpoint=url)
    for _ in range(3):
        chat(host, ClientTrace())
    host.process.terminate()
    assert host.wait() == 0  # in less than the 20 seconds of that, though exports are tried for longer
    lines = [json.loads(line) for line in host.stderr.splitlines() if line.startswith("{")]
    warnings = [line for line in lines if line["level"] == "warning"]
    assert {line["event"] for line in warnings} <= {"traces_not_exported", "traces_left_out"}
    (line,) = (line for line in warnings if line["event"] == "traces_not_exported")
    assert line["to"] == url
    assert "Failed to export" in line["reason"]
    assert "opentelemetry" not in host.stderr


def test_silent_receiver_delays_the_end_no_longer_than_its_limit(start_host: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        host = start_host(**SCRIPTED, environment={"OTEL_EXPORTER_OTLP_TIMEOUT": "600"}, otlp_endpoint=url)
        chat(host, ClientTrace())
        host.process.terminate()
        assert host.wait() == 0
        assert [line["seconds"] for line in host.log_events("traces_left_out")] == [5]


def test_trace_of_a_client_is_in_the_log_and_passed_on_without_any_export(start_host: Start, tmp_path: Path) -> None:
    there = start_host(**SCRIPTED)
    front = start_host(model=f"{there.url}/v1", alias=["here"], engine_options={"dialect": "modelhost"})
    trace = ClientTrace()
    chat(front, trace)
    chat(front, ClientTrace())
    for host in (front, there):
        host.wait_for_metric("modelhost_requests_total", 2, operation="chat")
        first, second = host.log_events("request")
        assert (first["trace_id"], first["span_id"]) == (trace.trace_id, trace.span_id)
        assert second["trace_id"] != trace.trace_id
    assert front.http.post("/v1/chat/completions", json=HELLO).status_code == 200
    front.wait_for_metric("modelhost_requests_total", 3, operation="chat")
    assert "trace_id" not in front.log_events("request")[2]


def test_load_is_logged_in_the_trace_of_the_request_and_later_news_of_the_worker_is_not(
    start_host: Start, tmp_path: Path
) -> None:
    path = write_registry(tmp_path / "models.yaml", scripted("ant"), scripted("bee"))
    host = start_host(models_config=path, max_models=1)
    trace = ClientTrace()
    host.http.post("/v1/chat/completions", json={**HELLO, "model": "bee"}, headers=trace.fields)
    (ready,) = (line for line in host.log_events("worker_ready") if line["model"] == "bee")
    assert ready["trace_id"] == trace.trace_id
    host.wait_for_metric("modelhost_requests_total", 1, model="bee")
    os.kill(ready["pid"], signal.SIGKILL)
    host.wait_for_metric("modelhost_worker_exits_total", 1, model="bee")
    (lost,) = host.log_events("worker_lost")
    assert "trace_id" not in lost


PROGRAM = """
import asyncio, sys
from modelhost.host import Host

async def main():
    async with Host(engine="scripted", data_dir=sys.argv[1]) as host:
        await host.chat("/echo hello")

asyncio.run(main())
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""


def test_host_that_exports_no_traces_imports_nothing_for_it(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


PROGRAM_WITH_PROVIDER = """
import asyncio, json, sys
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from modelhost.host import Host

kept, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(kept))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("program")

async def main():
    async with Host(engine="scripted", data_dir=sys.argv[1], **json.loads(sys.argv[2])) as host:
        with tracer.start_as_current_span("job"):
            await host.chat("/echo hello", model="scripted")
    with tracer.start_as_current_span("after"):
        pass

asyncio.run(main())
names = {span.context.span_id: span.name for span in kept.get_finished_spans()}
parents = {span.name: span.parent and names[span.parent.span_id] for span in kept.get_finished_spans()}
print(json.dumps(parents))
"""


@pytest.mark.parametrize("settings", [{}, {"otlp_endpoint": "http://127.0.0.1:9"}])
def test_spans_go_to_the_provider_of_the_program_that_has_set_one(settings: dict[str, str], tmp_path: Path) -> None:
    arguments = [str(tmp_path), json.dumps({"alias": ["scripted"], **settings})]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM_WITH_PROVIDER, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"job": None, "request": "job", "chat scripted": "request", "after": None}


PROGRAM_WITH_TWO_HOSTS = """
import asyncio, sys
from modelhost.host import Host

def host(name, endpoint):
    return Host(engine="scripted", alias=[name], data_dir=f"{sys.argv[1]}/{name}", otlp_endpoint=endpoint)

async def main():
    async with host("second", sys.argv[3]) as second:
        async with host("first", sys.argv[2]) as first:
            await first.chat("/echo hello")
            await second.chat("/echo hello")
        await second.chat("/echo hello")

asyncio.run(main())
"""


def test_two_hosts_of_a_program_export_what_happens_in_it_until_each_ends(tmp_path: Path) -> None:
    with trace_receiver() as first, trace_receiver() as second:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM_WITH_TWO_HOSTS, str(tmp_path), first.url, second.url],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found = [sorted(span.name for span in receiver.spans) for receiver in (first, second)]
    turns = ["chat first", "chat second", "request", "request"]
    assert found == [turns, sorted([*turns, "chat second", "request"])]


@pytest.mark.parametrize("status", [401, 404])
def test_a_refusal_of_the_receiver_is_logged_with_its_status(status: int, start_host: Start) -> None:
    with trace_receiver(status) as refusing:
        host = start_host(**SCRIPTED, environment=QUICK, otlp_endpoint=refusing.url)
        chat(host, ClientTrace())
        eventually(lambda: host.log_events("traces_not_exported"))
        (line,) = host.log_events("traces_not_exported")
    assert str(status) in line["reason"]


@pytest.mark.parametrize("variable", ["OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"])
def test_an_impossible_value_of_a_variable_is_one_message_at_the_start(variable: str, receiver: TraceReceiver) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "modelhost",
            "serve",
            "--engine",
            "scripted",
            "--port",
            "0",
            "--otlp-endpoint",
            receiver.url,
        ],
        env={**os.environ, variable: "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "the variables OTEL_BSP_* say" in done.stderr
    assert "Traceback" not in done.stderr
