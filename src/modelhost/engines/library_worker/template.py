"""A conversation as the text that the model continues."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from modelhost.engines.library_worker.reader import THINK, UNTHINK
from modelhost.engines.worker_http import Refused, error_body, invalid


class ChatTemplate:
    """The chat template of one model, or the one that is used instead."""

    def __init__(self, tokenizer: Any, override: str | None, model: str) -> None:
        self._tokenizer = tokenizer
        self.text = override or _own(tokenizer)
        self._model = model

    @property
    def shows_reasoning(self) -> bool:
        """Whether the model thinks aloud."""
        return self.text is not None and UNTHINK in self.text

    def render(self, body: Mapping[str, Any]) -> str:
        """Return the prompt for a chat request.

        Raises:
            Refused: the model has no template, or the template does not take this conversation.
        """
        if self.text is None:
            message = f"{self._model} has no chat template: give one with --chat-template, or use completions"
            raise Refused(400, error_body(400, "not_supported_error", message))
        continues = bool(body.get("continue_final_message"))
        try:
            prompt: str = self._tokenizer.apply_chat_template(
                [self._message(message) for message in body["messages"]],
                tools=body.get("tools") or None,
                chat_template=self.text,
                add_generation_prompt=bool(body.get("add_generation_prompt", not continues)),
                continue_final_message=continues,
                tokenize=False,
                **body.get("chat_template_kwargs", {}),
            )
        except (jinja2.TemplateError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise invalid(f"the chat template of {self._model} does not take these messages: {error}") from error
        return prompt

    def _message(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``message`` in the form that templates are written for."""
        content, calls = message.get("content"), message.get("tool_calls")
        changed = {**message, "content": self._text(content) if isinstance(content, list) else content or ""}
        if message["role"] == "developer" and "developer" not in (self.text or ""):
            changed["role"] = "system"
        if calls:
            changed["tool_calls"] = [_call(call) for call in calls]
        return changed

    def _text(self, parts: Sequence[Mapping[str, Any]]) -> str:
        if any(part["type"] not in {"text", "refusal"} for part in parts):
            message = f"unsupported content[].type: {self._model} reads text only"
            raise Refused(400, error_body(400, "not_supported_error", message))
        return "".join(part.get("text") or part.get("refusal") or "" for part in parts)


def is_thinking(prompt: str) -> bool:
    """Return whether ``prompt`` ends where the model is to think."""
    return prompt.rstrip().endswith(THINK)


def _own(tokenizer: Any) -> str | None:
    """Return the template of the model; of several by name the one for ordinary chats."""
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default") or next(iter(template.values()), None)
    return template or None


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``call`` with its arguments as an object, which templates write as JSON."""
    arguments = call["function"].get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            arguments = {"text": arguments} if arguments.strip() else {}
    if not isinstance(arguments, dict):
        arguments = {} if arguments is None else {"value": arguments}
    return {**call, "function": {**call["function"], "arguments": arguments}}
