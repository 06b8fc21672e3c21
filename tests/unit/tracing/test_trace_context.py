"""W3C's Trace Context: what is read, passed on and logged, and until when."""

from __future__ import annotations

import asyncio

import pytest

from modelhost import trace_context
from modelhost.trace_context import TraceContext, header_lines, part, read, read_headers, request

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CONTEXT = TraceContext(trace_id=TRACE, span_id=SPAN, flags="01")
INNER = TraceContext(trace_id=TRACE, span_id="00f067aa0ba902b7", flags="01")


@pytest.mark.parametrize("given", [f"00-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-what-the-future-brings"])
def test_context_of_any_version_is_read(given: str) -> None:
    assert read({"traceparent": given}) == CONTEXT


@pytest.mark.parametrize(
    "given",
    [
        "",
        None,
        7,
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}",
    ],
)
def test_invalid_context_is_none(given: object) -> None:
    assert read({"traceparent": given}) is None


@pytest.mark.parametrize(
    ("state", "kept"), [(b"vendor=1,other=2", "vendor=1,other=2"), (b"a=\xe4", ""), (b"a=" + b"b" * 600, "")]
)
def test_state_is_kept_where_it_can_be_passed_on(state: bytes, kept: str) -> None:
    found = read_headers({b"traceparent": f"00-{TRACE}-{SPAN}-01".encode(), b"tracestate": state})
    assert found is not None
    assert found.state == kept


def test_context_is_passed_on_as_lines_of_a_head() -> None:
    assert header_lines() == b""
    with request(TraceContext(trace_id=TRACE, span_id=SPAN, flags="00", state="vendor=1")):
        assert header_lines() == f"traceparent: 00-{TRACE}-{SPAN}-00\r\ntracestate: vendor=1\r\n".encode()
    assert header_lines() == b""


def test_part_of_a_request_is_the_current_one_until_it_ends() -> None:
    with request(CONTEXT):
        with part(INNER):
            assert trace_context.current() == INNER
        assert trace_context.current() == CONTEXT
    assert trace_context.current() is None


async def test_task_that_outlives_its_request_is_in_no_trace() -> None:
    is_over = asyncio.Event()

    async def look() -> tuple[TraceContext | None, TraceContext | None]:
        before = trace_context.current()
        await is_over.wait()
        return before, trace_context.current()

    with request(CONTEXT), part(INNER):
        task = asyncio.create_task(look())
        await asyncio.sleep(0)
    is_over.set()
    assert await task == (INNER, None)
