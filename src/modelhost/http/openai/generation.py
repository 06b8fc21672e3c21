"""The POST endpoints: a small ASGI application for each task, since they are the hot path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from starlette.types import Scope

from modelhost.chat.parsing.parse import parsed
from modelhost.exchange.caller import Caller
from modelhost.exchange.requests import AnyRequest, ChatRequest, CompletionRequest
from modelhost.exchange.sse import rendered
from modelhost.exchange.tasks import Task
from modelhost.http.endpoint import Endpoint, caller_of, with_session
from modelhost.http.exchange import Exchange
from modelhost.http.openai.answers import detokenized, filled_in, tokenized

if TYPE_CHECKING:
    from modelhost.host import Host

PATHS: Final[Mapping[Task, tuple[str, ...]]] = {
    "chat": ("/v1/chat/completions",),
    "completions": ("/v1/completions",),
    "infill": ("/infill",),
    "embeddings": ("/v1/embeddings",),
    "rerank": ("/v1/rerank", "/rerank"),
    "tokenize": ("/tokenize",),
    "detokenize": ("/detokenize",),
}
"""The paths of each task."""


class OperationEndpoint(Endpoint):
    """Answers ``task`` for the host's models."""

    is_of_openai = True

    def __init__(self, host: Host, task: Task) -> None:
        super().__init__(host, task)
        self._task = task

    async def respond(self, exchange: Exchange, scope: Scope, body: Any) -> None:
        caller = caller_of(scope)
        if self._task == "chat":
            body = with_session(exchange, scope, body)
        request = parsed(self._task, body)
        if isinstance(request, ChatRequest | CompletionRequest) and request.is_streamed:
            opened = self.host.open(request, caller, exchange.add_queue_position, may_relay=True)
            async with (
                exchange.event_stream(),
                opened as answer,
                rendered(answer, include_usage=request.include_usage) as blocks,
            ):
                await exchange.write_all(blocks)
        else:
            await self._answer_whole(exchange, request, caller)

    async def _answer_whole(self, exchange: Exchange, request: AnyRequest, caller: Caller) -> None:
        whole = await self.host.perform(self._task, request, caller, exchange.add_queue_position)
        if self._task == "tokenize":
            whole = tokenized(whole, self.host.find(request.model))
        elif self._task == "detokenize":
            whole = detokenized(whole)
        elif isinstance(request, CompletionRequest) and self._task == "infill":
            whole = filled_in(whole, request)
        await exchange.answer_json(whole)
