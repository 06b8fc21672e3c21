"""The chat template of a model: conversations as text, and the form of calls."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Final

import jinja2

from modelhost.engines.special_tokens import FRAMES, THOUGHTS
from modelhost.engines.tool_calls.calls import CallForm
from modelhost.engines.tool_calls.channels import ANALYSIS
from modelhost.engines.tool_calls.forms import AUTO, FORMS, form_of_template
from modelhost.engines.tool_calls.history import (
    split_parallel_calls,
    with_numbered_ids,
    with_object_arguments,
    with_short_ids,
    with_text_arguments,
)
from modelhost.engines.worker.asgi import UNSUPPORTED, ErrorResponse, error_body, invalid
from modelhost.exchange.media_kinds import IMAGE

_FAILURES: Final = (jinja2.TemplateError, ValueError, TypeError, KeyError, AttributeError)
"""Exceptions of templates that reject their input."""
_PROBE: Final = "probe_7f"


class ChatTemplate:
    """The chat template of one model, or its replacement.

    ``described`` is the template in the model's files, for tokenizers that do not have it: older directories of vision
    models have the template in the file of their processor. ``image_token`` is the text that stands for an image, if
    the model sees.
    """

    def __init__(
        self,
        tokenizer: Any,
        override: str | None,
        model: str,
        *,
        described: str | None = None,
        image_token: str | None = None,
    ) -> None:
        self._tokenizer, self._image_token = tokenizer, image_token
        self.text = override or _own(tokenizer) or described
        self._model = model

    @property
    def shows_reasoning(self) -> bool:
        """Whether the model writes its reasoning, frames its text, or uses channels."""
        return self.text is not None and any(mark in self.text for mark in (*THOUGHTS.values(), *FRAMES, ANALYSIS))

    def render(self, body: Mapping[str, Any], *, images_as_text: bool = False) -> str:
        """Return the prompt for a chat request.

        Args:
            images_as_text: write the token of an image into the text of its message, for templates that do not show
            images where they are.

        Raises:
            ErrorResponse: the model has no template, or the template rejects this conversation.
        """
        if self.text is None:
            message = f"{self._model} has no chat template: give one with --chat-template, or use completions"
            raise ErrorResponse(400, error_body(400, "not_supported_error", message))
        continues = bool(body.get("continue_final_message"))
        messages = [self._message(message, images_as_text=images_as_text) for message in body["messages"]]
        try:
            return self._rendered(
                self._with_calls(messages),
                tools=[_tool(tool) for tool in body.get("tools") or ()] or None,
                add_generation_prompt=bool(body.get("add_generation_prompt", not continues)),
                continue_final_message=continues,
                **body.get("chat_template_kwargs", {}),
            )
        except _FAILURES as error:
            raise invalid(f"the chat template of {self._model} does not take these messages: {error}") from error

    def _rendered(
        self, messages: Sequence[Mapping[str, Any]], *, continue_final_message: bool = False, **variables: Any
    ) -> str:
        prompt: str = self._tokenizer.apply_chat_template(
            messages,
            chat_template=self.text,
            continue_final_message=continue_final_message,
            tokenize=False,
            **variables,
        )
        return prompt

    def _message(self, message: Mapping[str, Any], *, images_as_text: bool) -> dict[str, Any]:
        changed = {**message, "content": self._content(message.get("content"), images_as_text=images_as_text)}
        if message["role"] == "developer" and "developer" not in (self.text or ""):
            changed["role"] = "system"
        if not message.get("tool_calls"):
            changed.pop("tool_calls", None)  # templates test whether it exists
        return changed

    def _content(self, content: Any, *, images_as_text: bool) -> str | list[dict[str, str]]:
        """Return the content of a message in the form that this template takes."""
        parts = content if isinstance(content, list) else [_text_part(content)]
        sees = self._image_token is not None
        if sees and not images_as_text and any(part["type"] == IMAGE for part in parts):
            return [{"type": "image"} if part["type"] == IMAGE else _text_part(self._text([part])) for part in parts]
        written = _text_part(f"{self._image_token}\n")
        text = self._text([written if sees and part["type"] == IMAGE else part for part in parts])
        return text if self._takes_text else [_text_part(text)]

    @cached_property
    def _takes_text(self) -> bool:
        """Whether the content of a message may be text; some templates of models that see show only parts."""
        return self._shows(_PROBE) or not self._shows([_text_part(_PROBE)])

    def _shows(self, content: Any) -> bool:
        """Whether the template shows ``content`` as such, and not as Python or JSON writes a list."""
        messages = [{"role": "user", "content": content}]
        try:
            text = self._rendered(messages, tools=None, add_generation_prompt=True)
        except _FAILURES:
            return False
        return _PROBE in text and "type" not in text

    def _with_calls(self, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return ``messages`` with their calls in the form that this template expects."""
        if not any("tool_calls" in message for message in messages):
            return [dict(message) for message in messages]
        changed: Iterator[dict[str, Any]] = map(
            with_object_arguments if self._takes_objects else with_text_arguments, messages
        )
        if "[TOOL_CALLS]" in (self.text or ""):
            changed = map(with_short_ids, changed)
        listed = list(changed)
        if "<|tool_calls_section_begin|>" in (self.text or ""):
            listed = with_numbered_ids(listed)
        return listed if self._takes_several else split_parallel_calls(listed)

    @cached_property
    def _takes_objects(self) -> bool:
        """Whether arguments are an object, as most templates expect, and not JSON text."""
        text = self._probed({_PROBE: "x"})
        return (text is not None and f"'{_PROBE}'" not in text) or self._probed(f'{{"{_PROBE}": "x"}}') is None

    @cached_property
    def _takes_several(self) -> bool:
        """Whether a message may have several calls (not with Llama 3, and gpt-oss's template shows only the first)."""
        arguments = {_PROBE: "x"} if self._takes_objects else f'{{"{_PROBE}": "x"}}'
        one, two = self._probed(arguments), self._probed(arguments, calls=2)
        return one is None or (two is not None and two.count(_PROBE) > one.count(_PROBE))

    def _probed(self, arguments: Any, *, calls: int = 1) -> str | None:
        """Return a small conversation as text, if that contains the arguments of its calls."""
        function = {"name": "probe", "arguments": arguments}
        ids = [f"probe000{number}" for number in range(calls)]
        messages: list[dict[str, Any]] = [
            {"role": "user", "content": "x"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"id": each, "type": "function", "function": function} for each in ids],
            },
            *({"role": "tool", "tool_call_id": each, "name": "probe", "content": "x"} for each in ids),
        ]
        try:
            text = self._rendered(messages, tools=None, add_generation_prompt=True)
        except _FAILURES:
            return None
        return text if _PROBE in text else None

    def _text(self, parts: Sequence[Mapping[str, Any]]) -> str:
        if other := next((part["type"] for part in parts if part["type"] not in {"text", "refusal"}), None):
            taken = "text" if self._image_token is None else f"text and {IMAGE}"
            message = f"unsupported content[].type {other}: {self._model} takes parts of type {taken} only"
            raise ErrorResponse(400, error_body(400, "not_supported_error", message, param="messages"))
        return "".join(part.get("text") or part.get("refusal") or "" for part in parts)


def _text_part(text: str | None) -> dict[str, str]:
    return {"type": "text", "text": text or ""}


def thoughts_end(prompt: str) -> str:
    """Return the end marker of the reasoning that the end of ``prompt`` begins; empty if it begins none."""
    return next((end for beginning, end in THOUGHTS.items() if prompt.rstrip().endswith(beginning)), "")


def _own(tokenizer: Any) -> str | None:
    """Return the template of the model; of several named ones, the one for ordinary chats.

    The template for tools is used for those as well if it tests whether there are any (Command R7B's does).
    """
    template = tokenizer.chat_template
    if isinstance(template, dict):
        ordinary = template.get("default") or next(iter(template.values()), None)
        with_tools = template.get("tool_use") or ""
        shows_tools = ordinary is not None and "tools" in ordinary
        template = with_tools if "if tools" in with_tools and not shows_tools else ordinary
    return template or None


def _tool(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return ``tool`` with parameters, which templates require."""
    if tool["function"].get("parameters"):
        return tool
    return {**tool, "function": {**tool["function"], "parameters": {"type": "object", "properties": {}}}}


def shows_tools(form: Callable[[], CallForm]) -> bool:
    """Return whether ``form`` returns one, as :func:`require_form` does; if it raises, the log gets the reason."""
    try:
        form()
    except ErrorResponse as refused:
        sys.stderr.write(f"{refused.body['error']['message']}\n")
        sys.stderr.flush()
        return False
    return True


def require_form(template: str | None, model: str, *, named: str = AUTO) -> CallForm:
    """Return the form of the calls of a model with the chat template ``template``.

    Args:
        named: the configured form; ``auto``: recognised by the template.

    Raises:
        ErrorResponse: its form is not supported, or it shows no tools.
    """
    if template is None or "tools" not in template:
        message = f"tools: the chat template of {model} shows no tools to the model, so it cannot call any"
        raise ErrorResponse(400, error_body(400, UNSUPPORTED, message, param="tools"))
    form = form_of_template(template) if named == AUTO else FORMS[named]
    if form is None:
        message = (
            f"tools: the chat template of {model} has tool calls in a form that is not known here. If it is one of "
            f"{', '.join(FORMS)}, name it with --engine-option tool_call_parser=NAME; else serve the model with "
            "llama.cpp, or leave tools out"
        )
        raise ErrorResponse(400, error_body(400, UNSUPPORTED, message, param="tools"))
    return form
