"""Requests and errors between the host and these workers: llama.cpp's shapes; the host's side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelhost.engines.adapters import AdapterChoice
from modelhost.engines.base import (
    OPENAI_PATHS,
    CustomTools,
    Preparation,
    PromptCaches,
    PromptProgress,
    PromptScores,
    Ready,
)
from modelhost.engines.token_limits import MIN_TOKENS, STOP_TOKEN_IDS, check_token_limits
from modelhost.engines.worker_http import UNSUPPORTED
from modelhost.errors import (
    ContextLengthExceeded,
    EngineError,
    InvalidRequest,
    ModelhostError,
    UnsupportedOperation,
    UnsupportedParameter,
)
from modelhost.exchange.tasks import TOKEN_STRINGS, Task

SAMPLING = frozenset(
    {"min_tokens_to_keep", "repetition_penalty", "ignore_eos", "structured_outputs", MIN_TOKENS, STOP_TOKEN_IDS}
)
CHAT = frozenset({"chat_template_kwargs", "reasoning_effort", "add_generation_prompt", "continue_final_message"})
FIELDS: Mapping[Task, frozenset[str]] = {
    "chat": SAMPLING | CHAT,
    "completions": SAMPLING | {"echo"},
    "infill": frozenset(),
    "embeddings": frozenset(),
    "rerank": frozenset(),
    "tokenize": frozenset({"with_pieces"}),
    "detokenize": frozenset(),
}
TYPES: Mapping[str, tuple[tuple[type, ...], str]] = {
    "add_generation_prompt": ((bool,), "true or false"),
    "chat_template_kwargs": ((dict,), "an object"),
    "continue_final_message": ((bool,), "true or false"),
    "ignore_eos": ((bool,), "true or false"),
    "min_tokens_to_keep": ((int,), "a whole number from 1"),
    "reasoning_effort": ((str,), "text"),
    "repetition_penalty": ((int, float), "a number over 0"),
    "with_pieces": ((bool,), "true or false"),
}
POSITIVE = ("min_tokens_to_keep", "repetition_penalty")


class LibraryDialect:
    """What is alike in all engines with such workers; a part of the :class:`~modelhost.engines.base.Engine`."""

    name: str
    prompt_caches: PromptCaches | None = None
    reads_contents = False
    custom_tools: CustomTools = "as_functions"
    has_own_tools = False
    prompt_progress: PromptProgress | None = None
    preparation: Preparation | None = None
    adapters: AdapterChoice | None = None
    prompt_scores: PromptScores | None = None

    def advice(self, task: Task) -> str:
        return f"{self.name} writes text; llama.cpp makes embeddings." if task in {"embeddings", "rerank"} else ""

    def adapt(self, task: Task, body: dict[str, Any]) -> dict[str, Any]:
        return adapted(task, body)

    def finished(self, _task: Task, body: dict[str, Any], _ready: Ready) -> dict[str, Any]:
        return body

    def path(self, task: Task) -> str:
        return OPENAI_PATHS[task]

    def received(self, _task: Task, data: bytes) -> bytes:
        return data

    def usage_in(
        self, chunk: Mapping[str, Any], *, asked: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
        return None  # it tells them as OpenAI's usage

    def translate_error(self, status: int, payload: Any, *, model: str, worker: str) -> ModelhostError:
        return translated(status, payload, model=model, worker=worker)


def adapted(task: Task, body: dict[str, Any]) -> dict[str, Any]:
    """Return ``body`` for the worker; it is changed in place, what it holds is not.

    Raises:
        InvalidRequest: a field beyond OpenAI's is of a wrong type.
    """
    for name, (kinds, words) in TYPES.items():
        value = body.get(name)
        if value is None:
            continue
        is_of_kind = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
        if not is_of_kind or (name in POSITIVE and value <= 0):
            raise InvalidRequest(f"{name}: it has to be {words}.", param=name)
    if task == "tokenize" and body.pop(TOKEN_STRINGS, None):
        body["with_pieces"] = True
    if MIN_TOKENS in body or STOP_TOKEN_IDS in body:
        check_token_limits(body)
    effort = body.pop("reasoning_effort", None) if task == "chat" else None
    if effort is not None:
        # It goes to the chat template, which is where the models that know it look for it.
        thinks = {"enable_thinking": False} if effort == "none" else {"reasoning_effort": effort}
        body["chat_template_kwargs"] = {**thinks, **body.get("chat_template_kwargs", {})}
    return body


def translated(status: int, payload: Any, *, model: str, worker: str) -> ModelhostError:
    """Return the worker's error answer as one of ours."""
    error = payload.get("error") if isinstance(payload, dict) else None
    if not isinstance(error, dict):
        error = {"message": f"the engine answered {status} without saying why", "type": "unknown"}
    message, kind = str(error.get("message", "")), error.get("type")
    if kind == "exceed_context_size_error":
        return ContextLengthExceeded.of(model, tokens=error.get("n_prompt_tokens"), limit=error.get("n_ctx"))
    if kind == "not_supported_error":
        return UnsupportedOperation(message, model=model)
    if kind == UNSUPPORTED:
        return UnsupportedParameter(message, param=error.get("param"))
    if kind == "invalid_request_error":
        return InvalidRequest(message, param=error.get("param"))
    return EngineError(
        f"The engine of {model} failed: {message}", model=model, worker=worker, status=status, engine_type=str(kind)
    )
