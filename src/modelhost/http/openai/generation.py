"""The POST endpoints: a small ASGI application for each task, since they are the hot path.

Besides, the answers with fields of other servers: ``/infill``, ``/tokenize`` and ``/detokenize`` of llama.cpp and vLLM.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import TYPE_CHECKING, Any, Final

from starlette.types import Scope

from modelhost.chat.parsing.parse import parsed
from modelhost.exchange.caller import Caller
from modelhost.exchange.nothing import NOTHING
from modelhost.exchange.requests import AnyRequest, ChatRequest, CompletionRequest
from modelhost.exchange.sse import rendered
from modelhost.exchange.tasks import COUNT, Task
from modelhost.http.endpoint import Endpoint, caller_of, with_session
from modelhost.http.exchange import Exchange

if TYPE_CHECKING:
    from modelhost.host import Host
    from modelhost.models.residency.hosted import HostedModel

LIMIT: Final = "limit"
EOS: Final = "eos"


def filled_in(answer: Mapping[str, Any], request: CompletionRequest) -> dict[str, Any]:
    """Return ``answer``, a completion, in llama.cpp's format, or the fields that ``request`` selects."""
    (choice,) = answer["choices"]
    usage = answer["usage"] or NOTHING
    whole = {
        "index": 0,
        "content": choice["text"],
        "model": answer["model"],
        "stop": True,
        "stop_type": answer.get("stop_type", LIMIT if choice["finish_reason"] == "length" else EOS),
        "stopping_word": answer.get("stopping_word", ""),
        "tokens_evaluated": usage.get("prompt_tokens", 0),
        "tokens_predicted": usage.get("completion_tokens", 0),
        "timings": answer.get("timings") or {},
    }
    wanted = None if request.infill is None else request.infill.answer_fields
    if wanted is None:
        return whole
    found = {path: _at(whole, path) for path in wanted}
    return {path: value for path, value in found.items() if value is not None}


def _at(value: Any, path: str) -> Any:
    return reduce(lambda inner, name: inner.get(name) if isinstance(inner, dict) else None, path.split("/"), value)


def tokenized(answer: dict[str, Any], model: HostedModel) -> dict[str, Any]:
    """Return the tokens with the additional fields of vLLM."""
    return {**answer, COUNT: answer.get(COUNT, len(answer["tokens"])), "max_model_len": model.context_length}


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
            whole = {**whole, "prompt": whole["content"]}  # the text under both names
        elif isinstance(request, CompletionRequest) and self._task == "infill":
            whole = filled_in(whole, request)
        await exchange.answer_json(whole)
