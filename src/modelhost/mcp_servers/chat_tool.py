"""The tool ``chat_completion``, with defaults for omitted parameters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from modelhost.client.host_client import HostClient
from modelhost.errors import NotFound
from modelhost.exchange.caller import Caller
from modelhost.exchange.events import Loading, Question, Queued, Text
from modelhost.exchange.whole_answer import WholeAnswer
from modelhost.operations.llm import VLLM_MCP_DEFAULTS, ChatParameters, ChatResult, ExecutedCall
from modelhost.operations.tools import ANSWER, APPROVE, ApprovalParameters, ElicitationParameters


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatDefaults:
    """Defaults for omitted parameters. ``None``: the model's own default, or else the seed's."""

    model: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    top_p: float | None = None
    top_k: int | None = None
    gpu_memory_utilization: float | None = None
    """Shown by ``model_info`` and in advice after out-of-memory errors; ``None``: the host's value."""
    max_model_len: int | None = None
    """As above."""

    def sampling(self, models_own: Mapping[str, Any]) -> dict[str, Any]:
        """Return the four sampling parameters, given the defaults of the model."""
        return {
            name: own if (own := getattr(self, name)) is not None else models_own.get(name, seeds)
            for name, seeds in VLLM_MCP_DEFAULTS.items()
        }


ReportPiece = Callable[[float, str | None], Awaitable[None]]
"""Gets each piece of the text with its number, from 1; clients join the texts. While the call waits for its model, it
gets numbers below 1 and no text."""

AUDITED: Final = ("model", "session_id", "max_tokens")
"""The arguments that the audit log keeps: no contents."""


async def chat_completion(
    backend: HostClient,
    defaults: ChatDefaults,
    parameters: ChatParameters,
    *,
    depth: int = 0,
    tell: ReportPiece | None = None,
) -> ChatResult:
    """Return the answer to ``parameters``. Cancelling cancels the generation and leaves a session unchanged.

    Raises:
        ModelhostError: as the chat of the backend does.
    """
    body = await _body(backend, defaults, parameters)
    body["stream_options"] = {"include_usage": True, "include_progress": tell is not None}
    answer, texts, waits = WholeAnswer(), 0, 0
    async with backend.chat(body, Caller(depth=depth)) as pieces:
        async for piece in pieces:
            answer.add(piece)
            for event in piece:
                if isinstance(event, Text) and event.text:
                    texts += 1
                    if tell is not None:
                        await tell(texts, event.text)
                elif isinstance(event, Queued | Loading) and tell is not None and not texts:
                    waits += 1
                    await tell(1 - 1 / (waits + 1), None)
                elif isinstance(event, Question):
                    await _decline(backend, event)
    return _result(answer, parameters.session_id)


async def _body(backend: HostClient, defaults: ChatDefaults, parameters: ChatParameters) -> dict[str, Any]:
    """Return the request for the host, with defaults of this server, the model and the seed, in this order."""
    given = {**parameters.model_dump(exclude_unset=True, exclude_none=True)}
    model = given.get("model", defaults.model)
    if model is not None:
        given["model"] = model
    explicit = {name for name in VLLM_MCP_DEFAULTS if getattr(defaults, name) is not None}
    silent = VLLM_MCP_DEFAULTS.keys() - given.keys()
    models_own = await backend.request_defaults(model) if silent - explicit else {}
    values = defaults.sampling(models_own)
    return {**{name: values[name] for name in silent}, **given}


async def _decline(backend: HostClient, question: Question) -> None:
    """Decline a question at once: nobody can answer it during a tool call."""
    try:
        if question.kind == "approval":
            await backend.run(APPROVE, ApprovalParameters(id=question.id, approve=None))
        else:
            await backend.run(ANSWER, ElicitationParameters(id=question.id, action="cancel"))
    except NotFound:
        return  # answered already, or timed out


def _result(answer: WholeAnswer, session_id: str | None) -> ChatResult:
    choice, missing = answer.choice(), answer.missing
    return ChatResult(
        content=choice.text or "",
        model=answer.envelope.model or "",
        session_id=session_id,
        finish_reason=choice.finish_reason or "stop",
        usage=None if answer.usage is None else dict(answer.usage),
        tool_calls=[ExecutedCall.model_validate(call) for call in answer.host_calls.values()],
        missing_servers=[] if missing is None else [server for server, _ in missing.servers],
    )
