"""``POST /``: a prompt in, the answer as text out, as in LLM-Server.

Of its statuses there are few: 200; 400, and what HTTP itself has for a method (405), a size (413, 431), an encoding
(415), a time (408), a key (401), an origin (403) or a path (404); 503 for a client too many; 500 for everything else
that is not the caller's doing. With ``strict_prompts`` there is no 415 and no 408, which LLM-Server does not know: they
are 400. Errors are ``{"Error": "message"}``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from modelhost import errors
from modelhost.errors import ConfigError, ModelhostError
from modelhost.exchange.caller import Caller
from modelhost.exchange.messages import Message
from modelhost.exchange.requests import ChatRequest
from modelhost.http.edge import REQUEST_ID
from modelhost.http.endpoint import Endpoint, caller_of
from modelhost.http.errors import Answer, error_answer
from modelhost.http.exchange import OPENAI, Exchange
from modelhost.logs import get_logger

if TYPE_CHECKING:
    from modelhost.host import Host

log = get_logger(__name__)

PATH: Final = "/"
OPERATION: Final = "prompt"
"""In logs and metrics."""
FIELD: Final = "prompt"
NOT_BLANK: Final = r"[^\s\x1c-\x1f\x85\ufeff]"
"""A character that is not white space in Python nor in ECMA-262, whose definitions differ."""
EXAMPLE: Final = '{"prompt": "..."}'
UNKNOWN_TO_LLM_SERVER: Final = (errors.UnsupportedEncoding, errors.RequestTimedOut)
"""Client errors whose statuses LLM-Server does not have."""
KEPT: Final = (
    *(errors.InvalidJson, errors.InvalidRequest, errors.ContextLengthExceeded, errors.RequestTooLarge),
    *(errors.HeadersTooLarge, *UNKNOWN_TO_LLM_SERVER),
    *(errors.Unauthorized, errors.ForeignOrigin, errors.NotFound, errors.MethodNotAllowed),
    errors.TooManyConnections,
)
"""Errors that keep their status: client errors, and refusals before this endpoint."""


class PromptEndpoint(Endpoint):
    """Answers single prompts with the active model and the host's tools."""

    def __init__(self, host: Host) -> None:
        self._answer_of = partial(prompt_error_answer, is_strict=host.settings.strict_prompts)
        super().__init__(host, OPERATION, replace(OPENAI, error_answer=self._answer_of))
        self._logs_contents = host.settings.log_prompts

    def log_of(self, scope: Scope) -> Any:
        return log.bind(request_id=scope.get(REQUEST_ID))

    async def work(self, exchange: Exchange, scope: Scope) -> None:
        bound_log = self.log_of(scope)
        try:
            if scope["method"] != "POST":
                raise errors.MethodNotAllowed(f"{scope['path']} takes POST with {EXAMPLE}, not {scope['method']}.")
            prompt = _prompt_in(await self.body(exchange))  # which may not name a model
            if self._logs_contents:
                bound_log.info("prompt_received", prompt=prompt)
            async with exchange.until_disconnected():
                text = await self._answered(exchange, prompt, caller_of(scope))
                if self._logs_contents:
                    bound_log.info("prompt_answered", response=text)
                await exchange.answer_json({"response": text})
        except ModelhostError as error:
            write = bound_log.error if self._answer_of(error)[0] >= 500 else bound_log.warning
            # An engine's error may repeat the prompt.
            write("prompt_refused", code=error.code, reason=error.message if self._logs_contents else None)
            raise

    async def _answered(self, exchange: Exchange, prompt: str, caller: Caller) -> str:
        system = self.host.settings.system_prompt
        question = Message(role="user", content=prompt)
        messages = (Message(role="system", content=system), question) if system else (question,)
        answer = await self.host.whole(ChatRequest(messages=messages), caller, exchange.add_queue_position)
        return answer.choice().text or ""


def prompt_endpoints(host: Host) -> dict[str, PromptEndpoint]:
    endpoint = PromptEndpoint(host)
    return dict.fromkeys((PATH, *host.settings.prompt_path), endpoint)


def prompts_alone(prompts: Mapping[str, PromptEndpoint]) -> Starlette:
    return Starlette(routes=routes_of(prompts), exception_handlers={HTTPException: _answer_not_found})


def routes_of(prompts: Mapping[str, PromptEndpoint]) -> list[BaseRoute]:
    """Return routes to ``prompts`` for every method; the endpoints refuse all but POST."""
    return [Route(path, endpoint) for path, endpoint in prompts.items()]


def check_paths(paths: Iterable[str], routes: Iterable[BaseRoute]) -> None:
    """Check that none of ``paths`` is a POST path of ``routes``.

    Raises:
        ConfigError: one is.
    """
    known = list(routes)
    for path in paths:
        scope: Scope = {"type": "http", "method": "POST", "path": path, "root_path": "", "headers": []}
        if any(route.matches(scope)[0] is Match.FULL for route in known):
            raise ConfigError(
                f"prompt_path: {path} is an endpoint of the host already; choose another, or have no others with "
                "--only-prompt",
                param="prompt_path",
            )


def prompt_error_answer(error: ModelhostError, *, is_strict: bool = False) -> Answer:
    """Return status, headers and body for ``error`` as in LLM-Server; ``is_strict`` uses its statuses only."""
    status, headers, _ = error_answer(error)
    body = orjson.dumps({"Error": error.message})
    kept = [(name, value) for name, value in headers if name not in (b"content-type", b"content-length")]
    if isinstance(error, errors.MethodNotAllowed):
        kept.append((b"allow", b"POST"))
    if not isinstance(error, KEPT):
        status = 500
    elif is_strict and isinstance(error, UNKNOWN_TO_LLM_SERVER):
        status = 400
    return status, [*_headers(body), *kept], body


def _headers(body: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]


def _prompt_in(body: Any) -> str:
    """Return the prompt in the decoded ``body``; raises InvalidRequest for anything else."""
    if not isinstance(body, dict):
        raise errors.InvalidRequest(f"The body has to be a JSON object: {EXAMPLE}.")
    if FIELD not in body:
        raise errors.InvalidRequest(f'The field "prompt" is missing: {EXAMPLE}.', param=FIELD)
    prompt = body[FIELD]
    if not isinstance(prompt, str) or not re.search(NOT_BLANK, prompt):
        raise errors.InvalidRequest('The field "prompt" must be text that is not empty.', param=FIELD)
    others = [name for name in body if name != FIELD]
    if others:
        raise errors.InvalidRequest(
            f'The field "{others[0]}" is unknown here: {EXAMPLE} is all there is.', param=others[0]
        )
    return prompt


async def _answer_not_found(request: Request, _error: Exception) -> Response:
    status, headers, body = prompt_error_answer(
        errors.NotFound(f"There is nothing at {request.url.path}: POST prompts to /.")
    )
    return Response(body, status, headers={name.decode(): value.decode() for name, value in headers})
