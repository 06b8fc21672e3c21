"""What a server may ask of us: to have a model write, to ask a person, and where its folders are."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, Final

import mcp_types as types
from mcp.client.session import ClientRequestContext

from modelhost.errors import ModelhostError
from modelhost.logs import get_logger
from modelhost.tools.approval import ApprovalRequest
from modelhost.tools.context import ElicitationAnswer, ElicitationRequest, ToolLogLine
from modelhost.tools.entry import ServerEntry
from modelhost.tools.flight import Flight, Flights
from modelhost.tools.forms import filled_in
from modelhost.tools.sampling import Sampler
from modelhost.tools.sampling_messages import request_of, result_of

log = get_logger(__name__)

REJECTED: Final = -1  # the code that the specification shows for a sampling request that a person refuses
REFUSED: Final = "User rejected sampling request"  # its words, too
UNANSWERED: Final = "Nobody was there to approve the sampling request"


class Answers:
    """Answers one server, for the call that it works on."""

    def __init__(self, entry: ServerEntry, flights: Flights, sampler: Sampler | None) -> None:
        self._entry = entry
        self._flights = flights
        self._sampler = sampler

    def callbacks(self) -> dict[str, Any]:
        """The SDK's client's arguments for what is answered at all; it declares its capabilities by them."""
        found: dict[str, Any] = {"elicitation_callback": self.elicit, "logging_callback": self.note}
        if self._sampler is not None and self._entry.sampling.mode != "off":
            found["sampling_callback"] = self.sample
            found["sampling_capabilities"] = types.SamplingCapability(tools=types.SamplingToolsCapability())
        if self._entry.roots:
            found["list_roots_callback"] = self.roots
        return found

    async def sample(
        self, _context: ClientRequestContext, params: types.CreateMessageRequestParams
    ) -> types.CreateMessageResult | types.CreateMessageResultWithTools | types.ErrorData:
        """Have a model write, if the policy allows it."""
        assert self._sampler is not None
        flight = self._flights.concerned("approve")
        request = request_of(self._entry.name, params, self._entry.sampling.max_tokens)
        with flight.paused() if flight is not None else nullcontext():
            if self._entry.sampling.mode == "ask" and not (agrees := await self._agrees(flight, params)):
                return types.ErrorData(code=REJECTED, message=UNANSWERED if agrees is None else REFUSED)
            try:
                answer = await self._sampler.sample(request)
            except ModelhostError as error:
                log.warning("mcp_sampling_failed", server=self._entry.name, code=error.code)
                return types.ErrorData(code=types.INTERNAL_ERROR, message=error.message)
        return result_of(answer, params)

    async def _agrees(self, flight: Flight | None, params: types.CreateMessageRequestParams) -> bool | None:
        if flight is None or flight.context.approve is None:
            return None
        arguments = params.model_dump(by_alias=True, mode="json", exclude_none=True)
        return await flight.context.approve(
            ApprovalRequest(
                kind="sampling",
                server=self._entry.name,
                name=self._entry.name,
                tool=flight.tool,
                arguments=arguments,
                annotations={},
            )
        )

    async def elicit(
        self, _context: ClientRequestContext, params: types.ElicitRequestParams
    ) -> types.ElicitResult | types.ErrorData:
        """Ask whoever is there; with nobody there, or if it is not certain who, it is declined."""
        flight = self._flights.concerned("elicit")
        if flight is None or flight.context.elicit is None:
            return types.ElicitResult(action="decline")
        with flight.paused():
            answer = await flight.context.elicit(_elicitation(self._entry.name, flight.tool, params))
        return _elicited(answer, params)

    async def roots(self, _context: ClientRequestContext) -> types.ListRootsResult | types.ErrorData:
        """The folders of the configuration."""
        return types.ListRootsResult.model_validate({"roots": [{"uri": uri} for uri in self._entry.roots]})

    async def note(self, params: types.LoggingMessageNotificationParams) -> None:
        """Pass a log message on to the call that it belongs to."""
        flight = self._flights.concerned("on_log")
        if flight is not None and flight.context.on_log is not None:
            await flight.context.on_log(
                ToolLogLine(server=self._entry.name, level=params.level, logger=params.logger, data=params.data)
            )


def _elicitation(server: str, tool: str, params: types.ElicitRequestParams) -> ElicitationRequest:
    if isinstance(params, types.ElicitRequestURLParams):
        return ElicitationRequest(server=server, tool=tool, message=params.message, mode="url", url=params.url)
    schema = params.model_dump(by_alias=True, mode="json", exclude_none=True)["requestedSchema"]
    return ElicitationRequest(server=server, tool=tool, message=params.message, schema=schema)


def _elicited(answer: ElicitationAnswer, params: types.ElicitRequestParams) -> types.ElicitResult:
    if answer.action != "accept" or isinstance(params, types.ElicitRequestURLParams):
        return types.ElicitResult(action=answer.action)
    return types.ElicitResult(action="accept", content=filled_in(params.requested_schema, answer.content or {}))
