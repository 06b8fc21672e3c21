"""``chat_completion``: a model's answer as the result of a tool."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from modelhost.chat.relay import payloads_of
from modelhost.chat.tool_events import CALL, QUESTION, RESULT, TOOLS
from modelhost.errors import NotFound
from modelhost.mcp_servers.backend import Backend
from modelhost.mcp_servers.defaults import ChatDefaults
from modelhost.operations.llm import SEED_DEFAULTS, ChatParameters, ChatResult, ExecutedCall
from modelhost.operations.tool_values import ApprovalParameters, ElicitationParameters
from modelhost.operations.tools import ANSWER, APPROVE

Tell = Callable[[int, str], Awaitable[None]]
"""Told of each piece of the text as it comes: how many there were with it, and the piece."""

AUDITED: Final = frozenset({"model", "session_id", "max_tokens"})
"""What the audit log keeps of a call: no contents."""


async def chat_completion(
    backend: Backend, defaults: ChatDefaults, asked: ChatParameters, *, depth: int = 0, tell: Tell | None = None
) -> ChatResult:
    """Return the answer to ``asked``. Being cancelled cancels the generation; then a session stays as it was.

    Raises:
        ModelhostError: as the chat of the backend does.
    """
    answer = _Answer()
    async with backend.chat(await _body(backend, defaults, asked), depth=depth) as blocks:
        async for block in blocks:
            for chunk in payloads_of(block):
                piece = answer.add(chunk)
                if piece and tell is not None:
                    await tell(answer.pieces, piece)
                if QUESTION in chunk:
                    await _decline(backend, chunk[QUESTION])
    return answer.result(asked.session_id)


async def _body(backend: Backend, defaults: ChatDefaults, asked: ChatParameters) -> dict[str, Any]:
    """Return the request for the host, with the defaults of this server, the model and the seed in that order."""
    given = {**asked.model_dump(exclude_unset=True, exclude_none=True)}
    model = given.get("model", defaults.model)
    if model is not None:
        given["model"] = model
    explicit = {name for name in SEED_DEFAULTS if getattr(defaults, name) is not None}
    silent = SEED_DEFAULTS.keys() - given.keys()
    models_own = await backend.request_defaults(model) if silent - explicit else {}
    values = defaults.sampling(models_own)
    return {
        **{name: values[name] for name in silent},
        **given,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def _decline(backend: Backend, question: dict[str, Any]) -> None:
    """Give up a question at once: a call of a tool has nobody who could be asked."""
    try:
        if question["kind"] == "approval":
            await backend.run(APPROVE, ApprovalParameters(id=question["id"], approve=None))
        else:
            await backend.run(ANSWER, ElicitationParameters(id=question["id"], action="cancel"))
    except NotFound:
        return  # somebody else was faster, or its time is over


class _Answer:
    """What has come of an answer so far."""

    def __init__(self) -> None:
        self.pieces = 0
        self._content: list[str] = []
        self._model = ""
        self._finish_reason = "stop"
        self._usage: dict[str, Any] | None = None
        self._calls: dict[str, dict[str, Any]] = {}
        self._missing: list[str] = []

    def add(self, chunk: dict[str, Any]) -> str:
        """Take in one chunk; return the piece of text that it holds."""
        self._model = chunk.get("model") or self._model
        self._usage = chunk.get("usage") or self._usage
        for kind in (CALL, RESULT):
            if kind in chunk:
                told = chunk[kind]
                self._calls.setdefault(told["id"], {}).update(told)
        if TOOLS in chunk:
            self._missing = [each["server"] for each in chunk[TOOLS]["missing"]]
        text = ""
        for choice in chunk.get("choices", ()):
            text += choice.get("delta", {}).get("content") or ""
            self._finish_reason = choice.get("finish_reason") or self._finish_reason
        if text:
            self.pieces += 1
            self._content.append(text)
        return text

    def result(self, session_id: str | None) -> ChatResult:
        """Return the whole."""
        return ChatResult(
            content="".join(self._content),
            model=self._model,
            session_id=session_id,
            finish_reason=self._finish_reason,
            usage=self._usage,
            tool_calls=[ExecutedCall.model_validate(call) for call in self._calls.values()],
            missing_servers=self._missing,
        )
