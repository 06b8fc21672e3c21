"""Spans recorded with OpenTelemetry's SDK and exported over OTLP/HTTP; imported only where spans are recorded.

The process has one provider, which the MCP SDK uses too, with the sampler and the resource of the standard variables.
If the program that the host runs in has set a provider of its own, spans go to that, and nothing is exported here.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache, partial
from types import TracebackType
from typing import Any, Final, Self

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from modelhost import trace_context
from modelhost.disconnect import ClientDisconnected
from modelhost.errors import ConfigError, ModelhostError
from modelhost.logs import get_logger
from modelhost.trace_context import TraceContext
from modelhost.tracing import spans
from modelhost.tracing.spans import CANCELLED, ERROR_TYPE, Attributes, Kind
from modelhost.tracing.wanted import WantedTraces
from modelhost.version import __version__

log = get_logger(__name__)

FLUSH_SECONDS: Final = 5.0
"""How long the end of a host waits for the last spans to be exported."""
KINDS: Final = {"internal": SpanKind.INTERNAL, "server": SpanKind.SERVER, "client": SpanKind.CLIENT}
SDK_LOGGERS: Final = ("opentelemetry.exporter", "opentelemetry.sdk.trace.export", "opentelemetry.sdk._shared_internal")
"""They repeat every failed attempt; the exporter below logs the first one."""
QUERY: Final = re.compile(r"\?[^\s'\")]+")
LONGEST_REASON: Final = 300
NANOSECONDS: Final = 1_000_000_000


class OtlpSpan:
    """A span, to be entered where it begins."""

    __slots__ = ("_begins_request", "_make", "_outer", "_place", "_span")

    def __init__(self, make: Any, *, begins_request: bool) -> None:
        """``make`` begins the span in a context."""
        self._make = make
        self._begins_request = begins_request

    def __enter__(self) -> Self:
        self._outer = contexts.get_current()
        self._span: trace.Span = self._make()
        contexts.attach(trace.set_span_in_context(self._span, self._outer))
        place = _named(self._span.get_span_context())
        self._place = trace_context.request(place) if self._begins_request else trace_context.part(place)
        self._place.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._place.__exit__(None, None, None)
        # Not with the token: a generator may be closed in another context than the one that it was entered in.
        contexts.attach(self._outer)
        if error is not None:
            code, is_fault = _code_of(error)
            self.fail(code, is_fault=is_fault)
        self._span.end()

    def set(self, attributes: Attributes) -> None:
        self._span.set_attributes(attributes)

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def fail(self, code: str, *, is_fault: bool = True) -> None:
        self._span.set_attribute(ERROR_TYPE, code)
        if is_fault:
            self._span.set_status(Status(StatusCode.ERROR))


class OtlpTracer:
    """Records spans with the provider of the process."""

    def __init__(self) -> None:
        self._tracer = trace.get_tracer("modelhost", __version__)

    @property
    def records_content(self) -> bool:
        return _EXPORTS.records_content

    def request(self, name: str, attributes: Attributes, *, kind: Kind, parent: TraceContext | None) -> OtlpSpan:
        def make() -> trace.Span:
            context = None if parent is None else trace.set_span_in_context(_remote(parent))
            return self._started(name, attributes, kind, context)

        return OtlpSpan(make, begins_request=True)

    def span(self, name: str, attributes: Attributes, *, kind: Kind = "internal") -> OtlpSpan:
        return OtlpSpan(lambda: self._started(name, attributes, kind), begins_request=False)

    def _started(self, name: str, attributes: Attributes, kind: Kind, context: Context | None = None) -> trace.Span:
        return self._tracer.start_span(name, context, KINDS[kind], attributes)

    def past(self, name: str, attributes: Attributes, *, seconds: float = 0.0, ended_ago: float = 0.0) -> None:
        end = time.time_ns() - int(ended_ago * NANOSECONDS)
        span = self._tracer.start_span(name, attributes=attributes, start_time=end - int(seconds * NANOSECONDS))
        span.end(end)

    def foreign(self) -> AbstractContextManager[None]:
        context = trace.get_current_span().get_span_context()
        return trace_context.request(_named(context) if context.is_valid else None)

    def under(self, parent: TraceContext) -> AbstractContextManager[None]:
        return _resumed(trace.set_span_in_context(_remote(parent)), None)

    def resumer(self) -> Callable[[], AbstractContextManager[None]]:
        return partial(_resumed, contexts.get_current(), trace_context.current())


@contextmanager
def _resumed(context: Context, place: TraceContext | None) -> Iterator[None]:
    outer = contexts.get_current()
    contexts.attach(context)
    try:
        with trace_context.request(place):
            yield
    finally:
        contexts.attach(outer)


def _named(context: SpanContext) -> TraceContext:
    return TraceContext(
        trace_id=trace.format_trace_id(context.trace_id),
        span_id=trace.format_span_id(context.span_id),
        flags=f"{context.trace_flags:02x}",
        state=context.trace_state.to_header(),
    )


def _remote(given: TraceContext) -> trace.Span:
    context = SpanContext(
        int(given.trace_id, 16),
        int(given.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(int(given.flags, 16)),
        trace_state=TraceState.from_header([given.state]),
    )
    return trace.NonRecordingSpan(context)


def _code_of(error: BaseException) -> tuple[str, bool]:
    """Return the ``error.type``, and whether it is a fault: the message of an error may hold what a client sent."""
    if isinstance(error, ModelhostError):
        return error.code, True
    if isinstance(error, ClientDisconnected | asyncio.CancelledError | GeneratorExit):
        return CANCELLED, False
    return type(error).__qualname__, True


class _RequestsOnly(Sampler):
    """Drops what begins with a call to another: what the MCP SDK sends by itself, such as its pings."""

    def __init__(self, inner: Sampler) -> None:
        self._inner = inner

    def should_sample(  # noqa: PLR0913, PLR0917 (the SDK's interface)
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Any = None,
        links: Any = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        has_parent = trace.get_current_span(parent_context).get_span_context().is_valid
        if kind is SpanKind.CLIENT and not has_parent:
            return SamplingResult(Decision.DROP)
        return self._inner.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        return f"RequestsOnly({self._inner.get_description()})"


class _Exporter(SpanExporter):
    """Exports spans without content, unless that is wanted; logs the first of several failures."""

    def __init__(self, inner: SpanExporter, to: str, *, records_content: bool) -> None:
        self._inner = inner
        self._to = to
        self._records_content = records_content
        self._has_failed = False

    def export(self, batch: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._inner.export(batch if self._records_content else [_without_texts(span) for span in batch])
        has_failed, reason = result is not SpanExportResult.SUCCESS, _FAULTS.take()
        if has_failed and not self._has_failed:
            log.warning("traces_not_exported", to=self._to, spans=len(batch), reason=reason)
        elif self._has_failed and not has_failed:
            log.info("traces_exported_again", to=self._to)
        self._has_failed = has_failed
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()


class _Faults(logging.Handler):
    """Keeps why the last export of each thread failed, which the library says only in its log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._of_thread = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        # Each attempt is a warning with its reason; the error at the end has one only if there was one attempt.
        kind = "error" if record.levelno >= logging.ERROR else "attempt"
        # The library writes the address, whose query may be a secret.
        setattr(self._of_thread, kind, QUERY.sub("?...", record.getMessage())[:LONGEST_REASON])

    def take(self) -> str | None:
        """Return and forget that of this thread."""
        found = vars(self._of_thread)
        return " ".join(filter(None, (found.pop("error", None), found.pop("attempt", None)))) or None


_FAULTS: Final = _Faults()


def _without_texts(span: ReadableSpan) -> ReadableSpan:
    """Return the span without the messages of errors, which the MCP SDK takes from what servers and clients sent."""
    if span.status.description is None and not span.events:
        return span
    return ReadableSpan(
        span.name,
        span.context,
        span.parent,
        span.resource,
        span.attributes,
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


class _Provider(TracerProvider):
    """That of this process, if it is the host's."""


class _Exports(SpanProcessor):
    """The exports of the hosts of this process; the provider has this one processor."""

    def __init__(self) -> None:
        self.running: tuple[Export, ...] = ()

    @property
    def records_content(self) -> bool:
        return bool(self.running) and all(export.records_content for export in self.running)

    def on_end(self, span: ReadableSpan) -> None:
        for export in self.running:
            if export.processor is not None:
                export.processor.on_end(span)


_EXPORTS: Final = _Exports()


class Export:
    """The export of one host. Made by :func:`begin`."""

    def __init__(self, exporter: SpanExporter | None, *, records_content: bool) -> None:
        """Without ``exporter``, spans go to the provider of the program.

        Raises:
            ConfigError: a variable has an impossible value.
        """
        try:
            self.processor = None if exporter is None else BatchSpanProcessor(exporter)
        except ValueError as error:
            raise ConfigError(f"The queue of traces cannot be as the variables OTEL_BSP_* say: {error}") from None
        self.records_content = records_content
        self._exporter = exporter

    async def end(self) -> None:
        """Export what is left, for :data:`FLUSH_SECONDS` at most, and end."""
        _EXPORTS.running = tuple(export for export in _EXPORTS.running if export is not self)
        if not _EXPORTS.running:
            spans.use(None)
        processor, exporter = self.processor, self._exporter
        if processor is None or exporter is None:
            return
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def end() -> None:
            processor.shutdown()  # type: ignore[no-untyped-call]
            with suppress(RuntimeError):  # the program has ended meanwhile
                loop.call_soon_threadsafe(ended.set)

        # Not in asyncio's own threads, whose end the end of the program waits for.
        threading.Thread(target=end, name="end of traces", daemon=True).start()
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                await ended.wait()
        except TimeoutError:
            exporter.shutdown()  # it tries no more
            log.warning("traces_left_out", seconds=FLUSH_SECONDS)


def begin(wanted: WantedTraces) -> Export:
    """Begin to record spans, and to export them as ``wanted``."""
    exporter: _Exporter | None = None
    if wanted.source is not None and _use_provider():
        for name in SDK_LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        logger = logging.getLogger(OTLPSpanExporter.__module__)
        logger.setLevel(logging.WARNING)
        logger.handlers, logger.propagate = [_FAULTS], False
        sender = OTLPSpanExporter(endpoint=wanted.endpoint)
        exporter = _Exporter(sender, wanted.source, records_content=wanted.records_content)
    elif wanted.source is not None:
        log.info("traces_go_to_the_program", ignored=wanted.source)
    export = Export(exporter, records_content=wanted.records_content)
    _EXPORTS.running += (export,)
    spans.use(OtlpTracer())
    return export


@cache
def _use_provider() -> bool:
    """Make the provider of this process, once; return whether it is ours."""
    if isinstance(trace.get_tracer_provider(), TracerProvider):
        return False
    ours = {"service.name": "modelhost", "service.version": __version__}
    resource = Resource.create({**ours, **OTELResourceDetector().detect().attributes})
    provider = _Provider(resource=resource, shutdown_on_exit=False)
    provider.sampler = _RequestsOnly(provider.sampler)  # it is that of the standard variables
    provider.add_span_processor(_EXPORTS)
    trace.set_tracer_provider(provider)
    return True
