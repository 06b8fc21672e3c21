"""Requests, answers and errors in llama.cpp's dialect: what its server names otherwise, ignores, or fails at.

Of the fields beyond OpenAI's, llama.cpp checks the types of numbers; ``TYPES`` lists those that it does not check.
``reasoning_effort`` is passed to the chat template, where models that support it look for it.

The prompt of ``/infill`` is made of the FIM tokens in a model's vocabulary. Of the text before and after the gap,
llama.cpp uses the parts next to it: as many tokens as three quarters and one quarter of a batch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from modelhost import errors, json_text
from modelhost.engines.llamacpp.ends import IGNORE_EOS, check_ignore_eos, with_min_tokens
from modelhost.engines.llamacpp.grammars import constraint_of
from modelhost.engines.token_limits import MIN_TOKENS, STOP_TOKEN_IDS
from modelhost.errors import ModelhostError
from modelhost.exchange.tasks import CONTINUOUS_USAGE, TOKEN_STRINGS, Task

RENAMED = {"repetition_penalty": "repeat_penalty", "min_tokens_to_keep": "min_keep"}
TYPES: Mapping[str, tuple[type, str]] = {
    "add_generation_prompt": (bool, "true or false"),
    "chat_template_kwargs": (dict, "an object"),
    "continue_final_message": (bool, "true or false"),
    "grammar": (str, "text"),
    "id_slot": (int, "a whole number"),
    "json_schema": (dict, "an object"),
    "parse_tool_calls": (bool, "true or false"),
    "reasoning_effort": (str, "text"),
    "reasoning_format": (str, "text"),
    "samplers": (list, "a list"),
}
ANY_OBJECT_FORMAT: Final = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}}
PER_TOKEN = "timings_per_token"  # noqa: S105 (no password)
"""Makes llama.cpp report timings, including the tokens so far, in each chunk instead of only in the last."""
LARGEST_SEED = 2**31  # llama.cpp cuts larger ones down to the one that means "choose one yourself"
MODEL_OUTPUT_FAILURES = ("does not match the expected", "Failed to parse input at pos")
"""Messages of its parser for the model's output. A grammar that is at its end ("Unexpected empty grammar stack") is not
one of them: the output follows the grammar, and its rest is missing."""
CALLERS_FAULTS = (
    "Failed to parse messages",
    "Unknown reasoning format",
    "Cannot use both",
    "Cannot use custom grammar",
    "Failed to load image or audio file",
)
_FIELD = re.compile(r"^Field '(\w+)': (?:\[json\.[\w.]+\] )?(?:Error: )?(.*)", re.DOTALL)
_TOO_LARGE = re.compile(r"input \((\d+) tokens\) is too large.*batch size: (\d+)", re.DOTALL)


def adapt_request(task: Task, body: dict[str, Any]) -> dict[str, Any]:
    """Return ``body`` for llama.cpp; ``body`` is changed in place, the objects in it are not.

    Raises:
        InvalidRequest: a field has a wrong type that llama.cpp does not check, or a text to embed is empty.
        UnsupportedParameter: llama.cpp does not support a combination of fields.
    """
    _check_types(body)
    if task == "embeddings":
        _check_texts(body["input"])
    body = _in_its_words(task, body)
    if "seed" in body:
        # Below zero, llama.cpp chooses a seed, as other servers do.
        body["seed"] = body["seed"] % LARGEST_SEED if body["seed"] >= 0 else -1
    if body.get("logprobs") is not None and body["logprobs"] is not False:
        _ask_for_logprobs(task, body)
    if "messages" in body:
        body["messages"] = [_message(message) for message in body["messages"]]
        _settle_continuation(body)
        effort = body.pop("reasoning_effort", None)
        if effort is not None:
            thinks = {"enable_thinking": False} if effort == "none" else {"reasoning_effort": effort}
            body["chat_template_kwargs"] = {**thinks, **body.get("chat_template_kwargs", {})}
    return body


def _in_its_words(task: Task, body: dict[str, Any]) -> dict[str, Any]:
    """Return ``body`` with llama.cpp's names of fields."""
    for ours in RENAMED.keys() & body.keys():
        body[RENAMED[ours]] = body.pop(ours)
    if (structured := body.pop("structured_outputs", None)) is not None:
        body.update(constraint_of(structured))
    if (body.get("response_format") or {}).get("type") == "json_object":
        # Without a schema, llama.cpp lets the model begin with white space, which costs tokens and is not in the text.
        body["response_format"] = ANY_OBJECT_FORMAT
    if IGNORE_EOS in body:
        check_ignore_eos(body)
    if MIN_TOKENS in body or STOP_TOKEN_IDS in body:
        body = with_min_tokens(body)
    if (body.get("stream_options") or {}).get(CONTINUOUS_USAGE):
        body |= {"stream_options": {"include_usage": True}, PER_TOKEN: True}
    if task == "tokenize" and body.pop(TOKEN_STRINGS, None):
        body["with_pieces"] = True
    return body


def usage_in(chunk: Mapping[str, Any], *, keeps_timings: bool) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
    """Return the usage so far from the timings in a chunk, and its other fields."""
    timings = chunk.get("timings")
    if not isinstance(timings, Mapping):
        return None
    cached, read, written = (int(timings.get(name) or 0) for name in ("cache_n", "prompt_n", "predicted_n"))
    usage = {
        "prompt_tokens": cached + read,
        "completion_tokens": written,
        "total_tokens": cached + read + written,
        "prompt_tokens_details": {"cached_tokens": cached},
    }
    return usage, chunk if keeps_timings else {name: value for name, value in chunk.items() if name != "timings"}


def with_tools_in_template(body: dict[str, Any], schema: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return ``body`` so that the model sees its tools but writes JSON of ``schema``, if any, from the first token on.

    llama.cpp's own way to require a call lets the model write text first, which a small model may continue forever.
    """
    tools = body["tools"]
    dropped = ("tools", "tool_choice", "parallel_tool_calls", "response_format")
    rest = {key: value for key, value in body.items() if key not in dropped}
    rest["chat_template_kwargs"] = {**body.get("chat_template_kwargs", {}), "tools": tools}
    if schema is not None:
        rest["response_format"] = {"type": "json_schema", "json_schema": {"name": "call", "schema": schema}}
    return rest


def _ask_for_logprobs(task: Task, body: dict[str, Any]) -> None:
    """llama.cpp reports a token's log probability only with alternatives, 20 of them by default."""
    name = "top_logprobs" if task == "chat" else "logprobs"
    body[name] = max(1, body.get(name) or 0)
    if body.get("tools"):  # it reports them for a whole answer only
        body["stream"] = False
        body.pop("stream_options", None)


def _settle_continuation(body: dict[str, Any]) -> None:
    """State in every case whether the last message is continued; the server's own default is switched off.

    As with llama.cpp's server, a last message of the model is continued, unless either field of the request differs.
    """
    wanted = body.pop("continue_final_message", None)
    if wanted is None and body["messages"]:
        last = body["messages"][-1]
        wanted = last["role"] == "assistant" and not last.get("tool_calls") and not body.get("add_generation_prompt")
    if wanted:
        body["continue_final_message"] = wanted
        body.setdefault("add_generation_prompt", False)


def _check_types(body: Mapping[str, Any]) -> None:
    for name in TYPES.keys() & body.keys():  # most requests have none of them
        (kind, words), value = TYPES[name], body[name]
        if value is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
            raise errors.InvalidRequest(f"{name}: it has to be {words}.", param=name)


def _check_texts(given: Any) -> None:
    """Refuse an empty text, of which llama.cpp makes no vector, by its place, which llama.cpp does not tell."""
    is_list = isinstance(given, list) and not (given and isinstance(given[0], int))
    texts = {f"input[{place}]": text for place, text in enumerate(given)} if is_list else {"input": given}
    if (param := next((param for param, text in texts.items() if not text), None)) is not None:
        raise errors.InvalidRequest(f"{param}: it is empty, and there is no vector of nothing.", param=param)


def _message(message: dict[str, Any]) -> dict[str, Any]:
    content, calls = message.get("content"), message.get("tool_calls")
    if isinstance(content, list):
        message = {**message, "content": [_part(part) for part in content]}
    if calls:
        message = {**message, "tool_calls": [_call(call) for call in calls]}
    return message


def _part(part: dict[str, Any]) -> dict[str, Any]:
    return {"type": "text", "text": part["refusal"]} if part["type"] == "refusal" else part


def _call(call: dict[str, Any]) -> dict[str, Any]:
    """Return ``call`` with arguments that are a JSON object, whatever the model once wrote.

    Templates iterate over the arguments, and llama.cpp answers 500 if they are not JSON.
    """
    arguments = call["function"].get("arguments")
    if isinstance(arguments, str):
        try:
            value = json_text.decode(arguments)
        except ValueError:
            value = {"text": arguments} if arguments.strip() else {}
    else:
        value = arguments
    if not isinstance(value, dict):
        value = {} if value is None else {"value": value}
    try:
        text = json_text.encode(value).decode()
    except orjson.JSONEncodeError as error:
        raise errors.InvalidRequest(
            f"The arguments of a call cannot be passed on: {error}.", param="messages"
        ) from None
    return {**call, "function": {**call["function"], "arguments": text}}


def error_from(status: int, payload: Any, *, model: str, worker: str) -> ModelhostError:  # noqa: PLR0911 (one for each)
    """Return llama.cpp's error answer as a :class:`ModelhostError`."""
    error = payload.get("error") if isinstance(payload, dict) else None
    if not isinstance(error, dict):
        error = {"message": f"the engine answered {status} without saying why", "type": "unknown"}
    message, kind = str(error.get("message", "")), error.get("type")
    if kind == "exceed_context_size_error":
        return errors.ContextLengthExceeded.of(model, tokens=error.get("n_prompt_tokens"), limit=error.get("n_ctx"))
    if found := _TOO_LARGE.search(message):
        return _too_large(model, tokens=int(found[1]), limit=int(found[2]))
    if unsupported := _unsupported(message, model):
        return unsupported
    if kind == "not_supported_error" or "is not supported" in message or "unsupported content[].type" in message:
        return errors.UnsupportedOperation(f"{model}: {message}", model=model)
    if found := _FIELD.match(message):
        return errors.InvalidRequest(f"{found[1]}: {found[2]}", param=found[1])
    if "_M_range_check" in message:
        return errors.InvalidRequest(f"tokens: at least one of them is no token of {model}.", param="tokens")
    if kind == "invalid_request_error" or any(fault in message for fault in CALLERS_FAULTS):
        return errors.InvalidRequest(message)
    details = {"status": status, "engine_type": str(kind)}
    if any(failure in message for failure in MODEL_OUTPUT_FAILURES):
        details["model_output"] = True
    return errors.EngineError(f"The engine of {model} failed: {message}", model=model, worker=worker, **details)


def _too_large(model: str, *, tokens: int, limit: int) -> errors.ContextLengthExceeded:
    """Return the error of a text to embed, which the batch limits: it is evaluated in one step."""
    return errors.ContextLengthExceeded(
        f"This model's maximum context length is {limit} tokens, and the prompt is too long: it has {tokens}. Shorten "
        f"it, or serve {model} with a larger --engine-option batch_size, up to its --context-length.",
        param="input",
        prompt_tokens=tokens,
        context_length=limit,
    )


def _unsupported(message: str, model: str) -> errors.UnsupportedParameter | None:
    """Return the error about a field that ``model`` does not support."""
    if "logprobs is not supported with tools" in message:
        return errors.UnsupportedParameter(
            f"logprobs: {model} cannot give them for a request with tools.", param="logprobs"
        )
    if NO_INFILL in message:
        return errors.UnsupportedParameter(
            f"suffix: {model} cannot fill in text before other text: its vocabulary has no tokens for that (FIM).",
            param="suffix",
        )
    return None


DATA: Final = b"data:"
END_OF_EVENT: Final = b"\n\n"
INFILL_NAMES: Final[Mapping[str, str]] = {
    "prompt": "input_prefix",
    "suffix": "input_suffix",
    "files": "input_extra",
    "begun": "prompt",
}
NO_INFILL: Final = "Infill is not supported by this model"
"""llama.cpp's message for a vocabulary without these tokens."""
LAST_FIELDS: Final = ("timings", "stop_type", "stopping_word")


def infill_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a completion in the form of ``/infill``."""
    return {INFILL_NAMES.get(name, name): value for name, value in body.items()}


def completion_events(block: bytes) -> bytes:
    """Return the events of ``block`` in the form of a completion's."""
    return b"".join(_event(each.strip()) for each in block.split(END_OF_EVENT) if each.strip().startswith(DATA))


def _event(event: bytes) -> bytes:
    result = orjson.loads(event.removeprefix(DATA))
    return DATA + b" " + orjson.dumps(result if "error" in result else _chunk(result)) + END_OF_EVENT


def _chunk(result: Mapping[str, Any]) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": 0, "text": result["content"], "finish_reason": None}
    if likely := result.get("completion_probabilities"):
        choice["logprobs"] = {"content": likely}
    chunk: dict[str, Any] = {"object": "text_completion", "choices": [choice]}
    if not result["stop"]:
        return chunk
    choice["finish_reason"] = "length" if result["stop_type"] == "limit" else "stop"
    read, written = result["tokens_evaluated"], result["tokens_predicted"]
    usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    if (timings := result.get("timings")) is not None:
        usage["prompt_tokens_details"] = {"cached_tokens": timings["cache_n"]}
    return {**chunk, "usage": usage, **{name: result[name] for name in LAST_FIELDS if result.get(name)}}


FIELD: Final = "return_progress"
MARK: Final = b'"prompt_progress":'


class ProgressEvents:
    """The :class:`~modelhost.engines.base.PromptProgress` of llama.cpp.

    It sends an event when a slot begins with a prompt, and one after each batch; each is a chunk without text. In
    generated text the quotes around the name are escaped, so that nothing else contains ``MARK``.
    """

    def wanted(self, body: dict[str, Any]) -> dict[str, Any]:
        return {**body, FIELD: True}

    def is_wanted(self, body: Mapping[str, Any]) -> bool:
        return bool(body.get(FIELD))

    def without(self, block: bytes) -> bytes:
        if MARK not in block:
            return block
        return b"".join(event + END_OF_EVENT for event in block.split(END_OF_EVENT) if event and MARK not in event)
