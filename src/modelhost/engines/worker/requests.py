"""Requests to a worker: the prompt in tokens, sampling, and the constraints of the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from modelhost.engines.schemas.rules import ANY_OBJECT, STRUCTURED
from modelhost.engines.special_tokens import meaningful_names
from modelhost.engines.token_limits import MIN_TOKENS, STOP_TOKEN_IDS
from modelhost.engines.tool_calls.calls import CallForm, ToolCallFormat
from modelhost.engines.worker.asgi import ErrorResponse, error_body, invalid
from modelhost.engines.worker.grammars import Grammars
from modelhost.engines.worker.images import Prompt, RequestImage, prompt_with_images, read_images, without_images
from modelhost.engines.worker.library import Loaded, PlacedImage, Vision
from modelhost.engines.worker.model_files import sampling_defaults
from modelhost.engines.worker.sampling import Constraint, Sampling
from modelhost.engines.worker.template import ChatTemplate, require_form, thoughts_end
from modelhost.engines.worker.text import ContentTokenizer, Vocabulary
from modelhost.exchange.tasks import CONTINUOUS_USAGE
from modelhost.plurals import counted

SAMPLING = (
    *("temperature", "top_k", "top_p", "min_p", "min_tokens_to_keep"),
    *("repetition_penalty", "presence_penalty", "frequency_penalty", "ignore_eos", MIN_TOKENS),
)
SHARED = frozenset(
    {*SAMPLING, "model", "stream", "stream_options", "max_tokens", "stop", "seed", "logit_bias", "logprobs"}
    | {STRUCTURED, STOP_TOKEN_IDS}
)
CHAT = SHARED | {
    *("messages", "tools", "tool_choice", "parallel_tool_calls", "response_format", "max_completion_tokens"),
    *("top_logprobs", "chat_template_kwargs", "add_generation_prompt", "continue_final_message"),
}
COMPLETION = SHARED | {"prompt", "echo"}


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """One generation request."""

    kind: Literal["chat", "completions"]
    model: str
    prompt: list[int]
    """Its tokens; what is part of an image has numbers of :mod:`.images`."""
    images: tuple[PlacedImage, ...] = ()
    most_tokens: int
    stops: tuple[str, ...]
    stop_ids: frozenset[int]
    """Tokens that end the answer, in addition to those of the model."""
    sampling: Sampling
    constraint: Constraint | None
    include_usage: bool
    continuous_usage: bool
    calling: ToolCallFormat | None = None
    reads_reasoning: bool = False
    is_thinking: bool = False
    echoed: str | None = None
    """The prompt, if the answer begins with it."""

    @property
    def text_tokens(self) -> Sequence[int]:
        """The tokens of the prompt that are in the vocabulary."""
        return without_images(self.prompt) if self.images else self.prompt

    @property
    def prompt_logprobs(self) -> int | None:
        """The number of alternatives to report for each token of the prompt, if any."""
        return None if self.echoed is None else self.sampling.top_logprobs


class RequestReader:
    """Reads the requests for one model; may be used in any thread."""

    def __init__(self, loaded: Loaded, vocabulary: Vocabulary, config: Mapping[str, Any]) -> None:
        self._model: str = config["name"]
        self._context_length: int = config["context_length"]
        self._vocab_size = loaded.vocab_size
        self._vocabulary = vocabulary
        self._defaults = sampling_defaults(loaded.defaults)
        self._form_named: str = config["tool_call_parser"]
        self._vision = loaded.vision
        self._template = ChatTemplate(
            loaded.tokenizer,
            config["chat_template"],
            self._model,
            described=config["own_chat_template"],
            image_token=loaded.vision.image_token if loaded.vision else None,
        )
        self._adds_special: bool = config["adds_special"]
        is_raw = config["special_tokens"] == "raw"
        self._contents = ContentTokenizer(
            vocabulary, () if is_raw else meaningful_names(vocabulary.special, self._template.text)
        )
        self._grammars = Grammars(loaded.tokenizer, vocab_size=loaded.vocab_size, eos_ids=loaded.eos_ids)

    def chat(self, body: Mapping[str, Any]) -> GenerationRequest:
        """Return the request of a chat.

        Raises:
            ErrorResponse: it is not supported.
        """
        _check_fields(body, CHAT)
        calling = self._calling(body)
        prompt = self.prompt(body)
        end = thoughts_end(prompt.text) if self._template.shows_reasoning else ""
        is_forced = body.get("tool_choice") == "required"
        logprobs = (body.get("top_logprobs") or 0) if body.get("logprobs") else None
        return self._request(
            "chat",
            body,
            prompt.ids,
            images=prompt.images,
            constraint=self._forced_call(calling) if calling and is_forced else self._structure(body, after=end),
            top_logprobs=logprobs,
            calling=calling,
            reads_reasoning=self._template.shows_reasoning,
            is_thinking=bool(end) and not is_forced,
        )

    def prompt(self, body: Mapping[str, Any]) -> Prompt:
        """Return the prompt of a chat; raises as :meth:`chat` does."""
        self._calling(body)
        if self._vision is not None:
            readable, images = read_images(self._vision, body)
            marked = self._contents.marked_in_answers(self._contents.marked(readable), self._vision.image_token)
            return self._with_images(marked, images, self._vision)
        text = self._template.render(self._contents.marked(body))
        tokens = self._tokens_of(text)
        return Prompt(text=text, tokens=tokens, ids=tokens)

    def _with_images(self, marked: Mapping[str, Any], images: Sequence[RequestImage], vision: Vision) -> Prompt:
        """Return the prompt with ``images``, which a template shows in its own way, or else in the text."""
        problem = None
        for as_text in (False, True):
            try:
                text = self._template.render(marked, images_as_text=as_text)
            except ErrorResponse as error:
                problem = problem or error
                continue
            tokens = self._tokens_of(text)
            if (count := tokens.count(vision.image_token_id)) == len(images):
                return prompt_with_images(text, tokens, images, vision.image_token_id)
            message = (
                f"messages: the prompt that the chat template of {self._model} makes of these messages has "
                f"{vision.image_token} {counted(count, 'time')}, for {counted(len(images), 'image')}"
            )
            problem = invalid(message, param="messages")
        assert problem is not None
        raise problem

    def _tokens_of(self, text: str) -> list[int]:
        return self._contents.tokens(text, add_special=self._adds_special)

    def completion(self, body: Mapping[str, Any]) -> GenerationRequest:
        """Return the request of a completion; raises as :meth:`chat` does."""
        _check_fields(body, COMPLETION)
        prompt = body["prompt"]
        tokens = self._vocabulary.encode(prompt, add_special=True) if isinstance(prompt, str) else prompt
        if not all(0 <= token < self._vocab_size for token in tokens):
            raise invalid(f"prompt: at least one of its tokens is none of {self._model}", param="prompt")
        constraint = self._structure(body, after="")
        echoed = None
        if body.get("echo"):
            echoed = prompt if isinstance(prompt, str) else self._vocabulary.decode(prompt)
        top_logprobs = body.get("logprobs")
        return self._request(
            "completions", body, tokens, constraint=constraint, top_logprobs=top_logprobs, echoed=echoed
        )

    def call_form(self) -> CallForm:
        """Return the form of the model's tool calls; raises as :func:`~.template.require_form` does."""
        return require_form(self._template.text, self._model, named=self._form_named)

    def _calling(self, body: Mapping[str, Any]) -> ToolCallFormat | None:
        tools = body.get("tools")
        if not tools:
            return None
        form = self.call_form()
        is_one = body.get("tool_choice") == "required" or body.get("parallel_tool_calls") is False
        return ToolCallFormat(form=form, tools=tools, one_call=is_one)

    def _request(
        self,
        kind: Literal["chat", "completions"],
        body: Mapping[str, Any],
        prompt: list[int],
        *,
        constraint: Constraint | None,
        top_logprobs: int | None,
        **reading: Any,
    ) -> GenerationRequest:
        if not prompt:
            raise invalid("the prompt is empty", param="prompt")
        room = self._context_length - len(prompt)
        if room < 1:
            raise self._too_long(len(prompt))
        most = body.get("max_completion_tokens", body.get("max_tokens"))
        stop, options = body.get("stop") or (), body.get("stream_options") or {}
        return GenerationRequest(
            kind=kind,
            model=self._model,
            prompt=prompt,
            most_tokens=room if most is None else min(most, room),
            stops=(stop,) if isinstance(stop, str) else tuple(stop),
            stop_ids=self._stop_ids(body.get(STOP_TOKEN_IDS) or ()),
            sampling=self._sampling(body, top_logprobs),
            constraint=constraint,
            include_usage=bool(options.get("include_usage")),
            continuous_usage=bool(options.get(CONTINUOUS_USAGE)),
            **reading,
        )

    def _sampling(self, body: Mapping[str, Any], top_logprobs: int | None) -> Sampling:
        given = {name: body[name] for name in SAMPLING if body.get(name) is not None}
        seed = body.get("seed")
        bias = {self._token(name): value for name, value in (body.get("logit_bias") or {}).items()}
        return Sampling(
            **{**self._defaults, **given},
            logit_bias=bias,
            seed=seed if seed is not None and seed >= 0 else None,  # below zero: any, as with other servers
            top_logprobs=top_logprobs,
        )

    def _stop_ids(self, ids: Sequence[int]) -> frozenset[int]:
        unknown = [token for token in ids if token >= self._vocab_size]
        if unknown:
            raise invalid(f"{STOP_TOKEN_IDS}: {unknown[0]} is no token of {self._model}", param=STOP_TOKEN_IDS)
        return frozenset(ids)

    def _token(self, name: str) -> int:
        if not name.isdecimal() or int(name) >= self._vocab_size:
            raise invalid(f'logit_bias: "{name}" is no token of {self._model}', param="logit_bias")
        return int(name)

    def _structure(self, body: Mapping[str, Any], *, after: str) -> Constraint | None:
        """Return the constraint of the answer, ``after`` the end of the reasoning that the prompt has begun."""
        shape = body.get("response_format") or {"type": "text"}
        structured = body.get(STRUCTURED)
        if shape["type"] == "text" and structured is None:
            return None
        end: Sequence[int] = self._vocabulary.encode(after, add_special=False) if after else ()
        if structured is not None:
            return self._grammars.of_structured(structured, after=end)
        if shape["type"] == "json_object":
            return self._grammars.of_json(ANY_OBJECT, param="response_format", after=end)
        schema = shape["json_schema"]["schema"]
        return self._grammars.of_json(schema, param="response_format.json_schema.schema", after=end)

    def _forced_call(self, calling: ToolCallFormat) -> Constraint:
        grammar = calling.form.grammar(calling.tools, self._vocabulary.added)
        return self._grammars.of_lark(grammar, param="tools")

    def _too_long(self, tokens: int) -> ErrorResponse:
        limit = self._context_length
        message = f"request ({tokens} tokens) exceeds the available context size ({limit} tokens)"
        details = {"n_prompt_tokens": tokens, "n_ctx": limit}
        return ErrorResponse(400, error_body(400, "exceed_context_size_error", message, **details))


def _check_fields(body: Mapping[str, Any], known: frozenset[str]) -> None:
    """Refuse fields of other engines instead of ignoring them."""
    for name, value in body.items():
        if name not in known and value is not None:
            raise invalid(f"{name}: this engine does not know it", param=name)
