"""Requests in the form of mistral.rs: the prompt as text, sampling, and the constraint of the answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from modelhost.engines.mistralrs.runner import SharedRunner
from modelhost.engines.mistralrs.template import TemplateReader, special_tokens
from modelhost.engines.schemas.rules import ANY_OBJECT, GRAMMAR, STRUCTURED, answer_rule, json_rule, only_of
from modelhost.engines.special_tokens import THOUGHTS
from modelhost.engines.tool_calls.calls import CallForm, ToolCallFormat
from modelhost.engines.tool_calls.forms import FORMS
from modelhost.engines.worker.asgi import UNSUPPORTED, ErrorResponse, error_body, invalid
from modelhost.engines.worker.model_files import generation_config, sampling_defaults
from modelhost.engines.worker.reader import ChatReader
from modelhost.engines.worker.template import ChatTemplate, require_form, thoughts_end
from modelhost.exchange.tasks import CONTINUOUS_USAGE

CHOOSING: Final[Mapping[str, float]] = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
"""OpenAI's defaults. All are passed to the library, which otherwise uses some of the model's generation config."""
PENALTIES: Final[Mapping[str, float]] = {
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}
"""Values without effect are left out: the library processes every score as soon as one is given."""
SHARED = frozenset(
    {*CHOOSING, *PENALTIES, "ignore_eos", "logit_bias", "logprobs", STRUCTURED}
    | {"model", "stream", "stream_options", "max_tokens", "stop", "seed"}
)
CHAT = SHARED | {
    *("messages", "tools", "tool_choice", "parallel_tool_calls", "response_format", "max_completion_tokens"),
    *("top_logprobs", "chat_template_kwargs", "add_generation_prompt", "continue_final_message"),
}
COMPLETION = SHARED | {"prompt"}
SHOWN: Final = json.dumps({"type": "function", "function": {"name": "none", "parameters": {"type": "object"}}})
"""A tool passed to the library with calls switched off: only then it leaves the markers of calls in the text."""

Structure = tuple[str | None, str]
"""A grammar, if any, and the request field that it was made from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """One request, as it is passed to the library."""

    kind: Literal["chat", "completions"]
    arguments: Mapping[str, Any]
    """Of the library's ``ChatCompletionRequest``; ``is_raw`` adds those that leave markers in the text."""
    prompt_tokens: int
    reader: ChatReader
    is_raw: bool
    include_usage: bool
    continuous_usage: bool
    grammar_param: str = ""
    """The request field that the grammar was made from."""


class RequestReader:
    """Reads the requests for one model; may be used in any thread."""

    def __init__(self, runner: SharedRunner, config: Mapping[str, Any]) -> None:
        self._runner = runner
        self._model: str = config["name"]
        self._context_length: int = config["context_length"]
        self._vocab_size: int | None = config["vocab_size"]
        directory = Path(config["path"])
        self._makers = sampling_defaults(generation_config(directory))
        reader = TemplateReader(config["chat_template"], special_tokens(directory))
        self._template = ChatTemplate(reader, None, self._model)
        self._beginning = runner.text(runner.tokens("", add_special=True))
        known = set(THOUGHTS.values()).union(*(form.markers for form in FORMS.values()))
        markers = {marker: runner.tokens(marker, add_special=False) for marker in known}
        self._markers = {marker: tokens[0] for marker, tokens in markers.items() if len(tokens) == 1}

    def chat(self, body: Mapping[str, Any]) -> GenerationRequest:
        """Return the request of a chat.

        Raises:
            ErrorResponse: it is not supported.
        """
        _check_fields(body, CHAT)
        calling = self._calling(body)
        text = self._template.render(body)
        reads_reasoning = self._template.shows_reasoning
        end = thoughts_end(text) if reads_reasoning else ""
        is_forced = body.get("tool_choice") == "required"
        reader = ChatReader(
            calling=calling,
            reads_reasoning=reads_reasoning,
            is_thinking=bool(end) and not is_forced,
        )
        if calling is not None and is_forced:
            structure: Structure = (calling.form.grammar(calling.tools, self._markers), "tools")
        else:
            structure = self._structure(body, after=end)
        logprobs = (body.get("top_logprobs") or 0) if body.get("logprobs") else None
        return self._request(
            "chat",
            body,
            self._without_beginning(text),
            reader=reader,
            is_raw=calling is not None or reads_reasoning,
            top_logprobs=logprobs,
            structure=structure,
        )

    def prompt(self, body: Mapping[str, Any]) -> list[int]:
        """Return the tokens of the prompt of a chat; raises as :meth:`chat` does."""
        self._calling(body)
        return self._runner.tokens(self._without_beginning(self._template.render(body)), add_special=True)

    def _without_beginning(self, text: str) -> str:
        """The library puts its beginning of a text before every prompt; most templates have it already."""
        return text.removeprefix(self._beginning)

    def completion(self, body: Mapping[str, Any]) -> GenerationRequest:
        """Return the request of a completion; raises as :meth:`chat` does."""
        _check_fields(body, COMPLETION)
        prompt = body["prompt"]
        text = prompt if isinstance(prompt, str) else self._text_of(prompt)
        reader = ChatReader(calling=None, reads_reasoning=False)
        return self._request(
            "completions",
            body,
            text,
            reader=reader,
            top_logprobs=body.get("logprobs"),
            structure=self._structure(body, after=""),
        )

    def call_form(self) -> CallForm:
        """Return the form of the model's tool calls; raises as :func:`~.template.require_form` does."""
        return require_form(self._template.text, self._model)

    def _calling(self, body: Mapping[str, Any]) -> ToolCallFormat | None:
        tools = body.get("tools")
        if not tools:
            return None
        form = self.call_form()
        is_one = body.get("tool_choice") == "required" or body.get("parallel_tool_calls") is False
        return ToolCallFormat(form=form, tools=tools, one_call=is_one)

    def text_of(self, tokens: list[int], param: str) -> str:
        """Return the text of ``tokens``; raises :class:`ErrorResponse` if the model does not have one of them."""
        if self._vocab_size is not None and not all(0 <= token < self._vocab_size for token in tokens):
            raise invalid(f"{param}: at least one of its tokens is none of {self._model}", param=param)
        return self._runner.text(tokens)

    def _text_of(self, prompt: list[int]) -> str:
        text = self.text_of(prompt, "prompt").removeprefix(self._beginning)
        begun = len(self._runner.tokens("", add_special=True))
        tokens = self._runner.tokens(text, add_special=True)
        if prompt not in (tokens, tokens[begun:]):
            raise unsupported("prompt", "this engine takes texts, and these tokens are not those of their text")
        return text

    def _request(  # noqa: PLR0913 (all are parts of one request)
        self,
        kind: Literal["chat", "completions"],
        body: Mapping[str, Any],
        text: str,
        *,
        reader: ChatReader,
        top_logprobs: int | None,
        is_raw: bool = False,
        structure: Structure = (None, ""),
    ) -> GenerationRequest:
        prompt_tokens = len(self._runner.tokens(text, add_special=True))
        if not text:
            raise invalid("the prompt is empty", param="prompt")
        room = self._context_length - prompt_tokens
        if room < 1:
            raise _too_long(prompt_tokens, self._context_length)
        most = body.get("max_completion_tokens") or body.get("max_tokens") or room
        stop, options = body.get("stop") or [], body.get("stream_options") or {}
        arguments = {
            "model": "default",
            "messages": [{"role": "user", "content": text}],
            "max_tokens": min(most, room),
            "stop_seqs": [stop] if isinstance(stop, str) else stop,
            "logit_bias": {self._token(name): float(value) for name, value in (body.get("logit_bias") or {}).items()},
            "ignore_eos": bool(body.get("ignore_eos")),
            "logprobs": top_logprobs is not None,
            "top_logprobs": top_logprobs,
            "grammar": structure[0],
            "grammar_type": "lark" if structure[0] is not None else None,
            **self._sampling(body),
        }
        return GenerationRequest(
            kind=kind,
            arguments={name: value for name, value in arguments.items() if value not in (None, [], {})},
            prompt_tokens=prompt_tokens,
            reader=reader,
            is_raw=is_raw,
            include_usage=bool(options.get("include_usage")),
            continuous_usage=bool(options.get(CONTINUOUS_USAGE)),
            grammar_param=structure[1],
        )

    def _sampling(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the sampling arguments.

        Raises:
            ErrorResponse: the request has a seed, and the library has one seed for all requests.
        """
        given = {name: body[name] for name in (*CHOOSING, *PENALTIES) if body.get(name) is not None}
        found = {**CHOOSING, **self._makers, **given}
        if "repetition_penalty" not in self._makers:
            found = {name: value for name, value in found.items() if PENALTIES.get(name) != value}
        if found["top_p"] <= 0 or found["min_p"] >= 1:
            # Both leave the likeliest token; the library takes these values for none.
            found |= {"top_k": 1, "top_p": 1.0, "min_p": 0.0}
        found["top_k"] = max(0, found["top_k"])
        seed = body.get("seed")
        if seed is not None and seed >= 0 and found["temperature"] > 0 and found["top_k"] != 1:
            raise unsupported("seed", "this engine has none for a single request; leave it out, or take temperature 0")
        return found

    def _token(self, name: str) -> int:
        if not name.isdecimal() or (self._vocab_size is not None and int(name) >= self._vocab_size):
            raise invalid(f'logit_bias: "{name}" is no token of {self._model}', param="logit_bias")
        return int(name)

    def _structure(self, body: Mapping[str, Any], *, after: str) -> Structure:
        """Return the grammar of the answer, ``after`` the end of the reasoning that the prompt has begun."""
        rule, param = _rule_of(body)
        if rule is None:
            return None, ""
        rules = ["start: answer", f"answer: {rule}"]
        if after in self._markers:
            rules[0] = f"start: /(.|\\n)*/ <[{self._markers[after]}]> /\\n{{0,2}}/ answer"
        elif after:
            rules[0] = "start: thoughts /\\n{0,2}/ answer"
            rules.append(f'thoughts[suffix="{after}"]: /(.|\\n)*/')
        return "\n".join(rules), param


def _rule_of(body: Mapping[str, Any]) -> Structure:
    """Return the part of a grammar that the answer has to follow; raises :class:`ErrorResponse` if there is none."""
    if (structured := body.get(STRUCTURED)) is not None:
        kind, value = only_of(structured)
        param = f"{STRUCTURED}.{kind}"
        if kind == GRAMMAR:
            raise unsupported(
                param, "this engine takes none; say it as a regular expression, a choice or a JSON schema"
            )
        return answer_rule(kind, value), param
    shape = body.get("response_format") or {"type": "text"}
    if shape["type"] == "text":
        return None, ""
    if shape["type"] == "json_schema":
        return json_rule(shape["json_schema"]["schema"]), "response_format.json_schema.schema"
    return json_rule(ANY_OBJECT), "response_format"


def raw(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``arguments`` with those that keep the markers of calls and reasoning in the text."""
    from mistralrs import ToolChoice  # noqa: PLC0415 (of the environment of the worker)

    return {**arguments, "tool_schemas": [SHOWN], "tool_choice": ToolChoice.NoTools}


def _check_fields(body: Mapping[str, Any], known: frozenset[str]) -> None:
    """Refuse fields of other engines instead of ignoring them."""
    for name, value in body.items():
        if name not in known and value is not None:
            raise unsupported(name, "this engine does not know it")


def unsupported(name: str, why: str) -> ErrorResponse:
    """Return the error for a field that the library does not support."""
    return ErrorResponse(400, error_body(400, UNSUPPORTED, f"{name}: {why}", param=name))


def _too_long(tokens: int, limit: int) -> ErrorResponse:
    message = f"request ({tokens} tokens) exceeds the available context size ({limit} tokens)"
    return ErrorResponse(
        400, error_body(400, "exceed_context_size_error", message, n_prompt_tokens=tokens, n_ctx=limit)
    )
