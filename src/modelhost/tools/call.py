"""One bounded tool call. Failures of the tool, its server or the model are outcomes, not exceptions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import mcp_types as types
from mcp.shared.exceptions import MCPError
from msgspec.structs import replace
from pydantic import ValidationError

from modelhost.engines.special_tokens import ZERO_WIDTH_SPACE
from modelhost.errors import ToolServerUnavailable
from modelhost.logs import get_logger, has_debug
from modelhost.tools.arguments import read_arguments
from modelhost.tools.call_spans import approval_span, note_decision
from modelhost.tools.callbacks import ApprovalRequest, CallAttempt, CallContext, stricter, verdict
from modelhost.tools.catalogue import CatalogueEntry
from modelhost.tools.connection import Connection
from modelhost.tools.content import images_of, sounds_of, text_of
from modelhost.tools.failures import innermost
from modelhost.tools.outcome import FailureCode, ResultLimits, ToolOutcome, cut, fitting
from modelhost.tools.repair import UNREADABLE

log = get_logger(__name__)

ATTEMPTS: Final = 2
"""A call is sent again only if it was not sent the first time."""
CANNOT_READ: Final = "Failed to parse"  # the SDK's message for an answer over HTTP that is not JSON
CLOSED: Final = "Connection closed"  # the SDK's message; servers use the same code for errors of their own


class Failure(Exception):
    """Why there is no result; not raised out of this module."""

    def __init__(self, code: FailureCode, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


async def call_tool(
    listed: CatalogueEntry, given: Mapping[str, Any] | str, context: CallContext, limits: ResultLimits
) -> ToolOutcome:
    """Check the arguments, obtain approval, make the call and return its outcome.

    Raises:
        CancelledError: the caller was cancelled; the server is notified.
        Exception: from a callback of the context.
    """
    loop = asyncio.get_running_loop()
    began, was_retried = loop.time(), False
    try:
        arguments = _arguments(listed, given)
        await _require_approval(listed, arguments, context)
        result, was_retried = await _call_with_retry(listed, arguments, context)
    except Failure as failure:
        outcome = failed(listed.offered.name, failure.code, failure.text)
    else:
        outcome = _outcome(listed, result, limits)
    known = listed.known
    seconds = loop.time() - began
    return replace(outcome, server=known.server, tool=known.tool, was_retried=was_retried, seconds=seconds)


def needs_approval(listed: CatalogueEntry, given: Mapping[str, Any] | str, context: CallContext) -> bool:
    """Whether :func:`call_tool` would ask for approval: its arguments are right, and a rule wants it."""
    try:
        _arguments(listed, given)
    except Failure:
        return False
    offered = listed.offered
    return verdict(stricter(offered.approval, context.approval), is_read_only=offered.is_read_only) == "ask"


def failed(name: str, code: FailureCode, text: str) -> ToolOutcome:
    return ToolOutcome(name=name, text=text, is_error=True, code=code)


def _arguments(listed: CatalogueEntry, given: Mapping[str, Any] | str) -> dict[str, Any]:
    try:
        arguments = read_arguments(given)
    except ValueError as error:
        raise Failure("invalid_arguments", f"The call was not made: {error}.") from None
    if problems := listed.known.check.problems(arguments):
        for corrected in _corrections(arguments):
            if corrected != arguments and not listed.known.check.problems(corrected):
                return corrected
        text = "\n".join(f"- {problem}" for problem in problems)
        raise Failure("invalid_arguments", f"The call was not made: its arguments are wrong.\n{text}")
    return arguments


def _corrections(arguments: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what a model may have meant by arguments that the schema does not accept."""
    # Models write null for optional values.
    yield {name: value for name, value in arguments.items() if value is not None}
    # A control token in the schema is shown to models with a zero-width mark in it, which they copy.
    yield {name: _without_marks(value) for name, value in arguments.items()}


def _without_marks(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace(ZERO_WIDTH_SPACE, "")
    if isinstance(value, Mapping):
        return {name: _without_marks(each) for name, each in value.items()}
    return [_without_marks(each) for each in value] if isinstance(value, list) else value


async def _require_approval(listed: CatalogueEntry, arguments: Mapping[str, Any], context: CallContext) -> None:
    offered = listed.offered
    approval = stricter(offered.approval, context.approval)
    decided = verdict(approval, is_read_only=offered.is_read_only)
    if has_debug():
        log.debug(
            "tool_call_judged",
            server=offered.server,
            tool=offered.tool,
            verdict=decided,
            approval=approval,
            is_read_only=offered.is_read_only,
            can_ask=context.approve is not None,
        )
    match decided:
        case "run":
            return
        case "deny":
            raise Failure("tool_denied", f'The call was not made: the tool "{offered.name}" is not allowed.')
    if context.approve is None:
        raise Failure(
            "tool_denied", f'The call was not made: "{offered.name}" needs approval, and there is no one to ask.'
        )
    request = ApprovalRequest(
        kind="tool",
        server=offered.server,
        name=offered.name,
        tool=offered.tool,
        arguments=arguments,
        annotations=offered.annotations,
    )
    try:
        async with asyncio.timeout_at(context.deadline):
            with approval_span(offered) as span:
                is_approved = await context.approve(request)
                note_decision(span, is_approved)
    except TimeoutError:
        raise Failure("tool_timeout", "The call did not run: it was not approved in time.") from None
    if is_approved is None:
        raise Failure("tool_denied", "The call did not run: the request for approval was not answered.")
    if not is_approved:
        raise Failure("tool_denied", "The call did not run: it was denied.")


async def _call_with_retry(
    listed: CatalogueEntry, arguments: dict[str, Any], context: CallContext
) -> tuple[types.CallToolResult, bool]:
    """Return the result, and whether it took a second attempt."""
    lost: Connection | None = None
    refusal: str | None = None
    for number in range(ATTEMPTS):
        attempt = CallAttempt(listed.known.server, listed.known.tool, context, is_retry=number > 0)
        async with _connection_for(listed, attempt, lost) as connection:
            try:
                return await _answer(listed, connection, attempt, arguments), number > 0
            except MCPError as error:
                if attempt.was_sent:
                    raise _failure_of(error, listed, connection) from None
            lost, refusal = connection, attempt.refusal
    why = refusal or "was lost before it could be sent"
    raise Failure("tool_server_unavailable", f'The call was not made: the MCP server "{listed.known.server}" {why}.')


@asynccontextmanager
async def _connection_for(
    listed: CatalogueEntry, attempt: CallAttempt, lost: Connection | None
) -> AsyncIterator[Connection]:
    """Hold a place among the server's calls; yields a connection other than the ``lost`` one."""
    server = listed.server
    seconds = server.entry.timeout_seconds
    async with AsyncExitStack() as stack:
        try:
            async with attempt.limit(seconds):
                await stack.enter_async_context(server.place(attempt))
                connection = await server.connection(after=lost)
        except TimeoutError:
            text = f'The call was not made: the MCP server "{server.name}" was not free and ready in time.'
            raise Failure("tool_timeout", text) from None
        except ToolServerUnavailable as error:
            raise Failure("tool_server_unavailable", f"The call was not made: {error.message}.") from None
        yield connection


async def _answer(
    listed: CatalogueEntry, connection: Connection, attempt: CallAttempt, arguments: dict[str, Any]
) -> types.CallToolResult:
    """Return the server's answer; raises MCPError if it is an error, or the connection was lost."""
    server = listed.server
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with attempt.limit(server.entry.timeout_seconds):
            result = await connection.call(attempt, arguments)
    except TimeoutError:
        seconds = loop.time() - began
        text = f"There is no result: the tool did not answer within {seconds:.3g} s and was cancelled. It may have run."
        raise Failure("tool_timeout", text) from None
    except ValidationError:
        text = "There is no result: the tool ran, but what its server answered is not valid MCP."
        raise Failure("tool_invalid_result", text) from None
    except RuntimeError as error:
        # The SDK has no type of its own for a result that violates the tool's output schema.
        raise Failure("tool_invalid_result", f"The tool ran, but its result is not usable: {error}") from None
    except ExceptionGroup as group:
        raise innermost(group) from group  # a callback of the context failed, which the SDK wraps
    server.record_call(loop.time() - began, is_error=result.is_error)
    return result


def _failure_of(error: MCPError, listed: CatalogueEntry, connection: Connection) -> Failure:
    if error.code == types.CONNECTION_CLOSED and (error.message == CLOSED or connection.lost_reason is not None):
        why = f" It {connection.lost_reason}." if connection.lost_reason else ""
        said = f'There is no result: the MCP server "{listed.server.name}" was lost during the call.'
        return Failure("tool_connection_lost", f"{said}{why} It may have run.")
    if error.code == types.PARSE_ERROR and error.message.startswith((UNREADABLE, CANNOT_READ)):
        text = "There is no result: the tool ran, but what its server answered cannot be read."
        return Failure("tool_invalid_result", text)
    return Failure("tool_failed", f"The tool failed with the error {error.code}: {error.message}")


def _outcome(listed: CatalogueEntry, result: types.CallToolResult, limits: ResultLimits) -> ToolOutcome:
    text, was_cut = cut(text_of(result.content, result.structured_content), limits.chars)
    images, on_images = fitting(images_of(result.content), limits.image_bytes)
    sounds, on_sounds = fitting(sounds_of(result.content), limits.image_bytes, "sounds")
    notes = [note for note in (on_images, on_sounds) if note]
    return ToolOutcome(
        name=listed.offered.name,
        text="\n".join([text, *notes]),
        is_error=result.is_error,
        code="tool_failed" if result.is_error else None,
        server=listed.known.server,
        tool=listed.known.tool,
        images=images,
        sounds=sounds,
        content=tuple(block.model_dump(by_alias=True, mode="json", exclude_none=True) for block in result.content),
        structured=result.structured_content,
        was_cut=was_cut or bool(notes),
    )
