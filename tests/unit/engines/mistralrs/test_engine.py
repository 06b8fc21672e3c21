"""The host's side of mistral.rs, and the parts of its worker that need no library."""

from __future__ import annotations

import asyncio
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from modelhost.engines.adapters import Adapter
from modelhost.engines.launch import ModelSpec
from modelhost.engines.mistralrs.engine import MistralRs
from modelhost.engines.mistralrs.requests import RequestReader
from modelhost.engines.mistralrs.runner import BUFFERED, SharedRunner
from modelhost.engines.mistralrs.template import TemplateReader, special_tokens
from modelhost.engines.worker.asgi import ErrorResponse
from modelhost.errors import ConfigError, UnsupportedParameter
from tests.support.base_models import MESSAGES, PLAIN
from tests.support.nano_hf import NANO_HF, nano_tokenizer

TEMPLATE = (NANO_HF / "chat_template.jinja").read_text()
ENGINE = MistralRs()
THINKING = "{{ messages[0].content }}<think>\n{# ends with </think> #}"


class Stream:
    """An answer of the library: ``count`` tokens, or an error."""

    def __init__(self, count: int, error: str = "") -> None:
        self._left, self._error = count, error
        self.is_dropped = threading.Event()

    def __iter__(self) -> Iterator[Any]:
        try:
            while self._left:
                self._left -= 1
                reason = None if self._left or self._error else "stop"
                usage = SimpleNamespace(prompt_tokens=3, completion_tokens=7) if reason else None
                choice = SimpleNamespace(delta=SimpleNamespace(content=None), logprobs=None, finish_reason=reason)
                yield SimpleNamespace(choices=[choice], usage=usage)
            if self._error:
                raise ValueError(self._error)
        finally:
            self.is_dropped.set()


class Library:
    """The library's ``Runner``: a token a letter, and the answer that it is told."""

    def __init__(self, stream: Stream | None = None) -> None:
        self._stream = stream
        self.is_called = threading.Lock()

    def tokenize_text(self, text: str, add_special: bool, _: None) -> list[int]:
        assert self.is_called.acquire(blocking=False), "Already borrowed"
        self.is_called.release()
        return [ord(letter) for letter in ("^" if add_special else "") + text]

    def detokenize_text(self, tokens: list[int], _: bool) -> str:
        return "".join(map(chr, tokens))

    def send_chat_completion_request(self, request: Any) -> Stream:
        assert request.stream
        assert self._stream is not None
        return self._stream


@pytest.fixture(autouse=True)
def _library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        sys.modules,
        "mistralrs",
        SimpleNamespace(ChatCompletionRequest=SimpleNamespace, ToolChoice=SimpleNamespace(NoTools="none")),
    )


def _requests(template: str | None = TEMPLATE, path: Path = Path("model.gguf"), context: int = 400) -> RequestReader:
    config = {"name": "m", "context_length": context, "vocab_size": 300, "path": str(path), "chat_template": template}
    return RequestReader(SharedRunner(Library(), one_prompt=False), config)


def _body(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "Hello"}], **fields}


def _refused(body: dict[str, Any], **of_requests: Any) -> dict[str, Any]:
    with pytest.raises(ErrorResponse) as refused:
        _requests(**of_requests).chat(body)
    assert refused.value.status == 400
    error: dict[str, Any] = refused.value.body["error"]
    return error


def test_a_worker_gets_the_model_s_own_template_and_few_threads() -> None:
    spec = ModelSpec(name="m", path=NANO_HF, threads=3, slots=5, own_chat_template="own", python="/there/python")
    launch = ENGINE.launch(spec, "key")
    assert launch.argv[:2] == ("/there/python", "-P")
    assert launch.env["RAYON_NUM_THREADS"] == "3"
    assert (launch.config["chat_template"], launch.config["slots"], launch.config["isq"]) == ("own", 5, "none")
    host_s = ENGINE.launch(ModelSpec(name="m", path=NANO_HF, chat_template="given", options={"isq": "q4k"}), "key")
    assert (host_s.argv[0], host_s.config["chat_template"], host_s.config["isq"]) == (sys.executable, "given", "Q4K")


def test_a_base_model_gets_the_lines_of_a_conversation() -> None:
    config = ENGINE.launch(ModelSpec(name="m", path=NANO_HF, has_chat_template=False), "key").config
    assert list(config["chat_stops"]) == ["\nuser:"]
    asked = _requests(template=config["chat_template"]).chat({"messages": MESSAGES})
    assert asked.arguments["messages"] == [{"role": "user", "content": PLAIN}]


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"options": {"isq": "Q9"}}, "there is no format Q9"),
        ({"options": {"dtype": "int8"}}, 'takes auto, float32, bfloat16, float16, not "int8"'),
        ({"options": {"prefix_caches": -1}}, "0 or more"),
        ({"options": {"isqq": "Q4K"}}, 'did you mean "isq"'),
        ({"lora": (Adapter(path=Path("a")),)}, "merged into"),
        ({"kv_cache_type": "q8_0"}, "number format of the model"),
    ],
)
def test_what_it_cannot_honour_is_an_error(changed: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        ENGINE.launch(ModelSpec(name="m", path=NANO_HF, **changed), "key")


@pytest.mark.promise("mistralrs.models.quantization")
def test_parameters_of_a_registry_become_its_options() -> None:
    found = ENGINE.accept({"isq": "Q8_0", "dtype": "bf16", "max_num_seqs": 4, "prompt_cache": "all"})
    assert found.settings["engine_options"] == {"isq": "Q8_0", "dtype": "bfloat16"}
    assert found.settings["max_slots"] == 4
    assert "prefix_caches" in found.warnings[0]
    assert not found.problems
    assert ENGINE.accept({"isq": "Q9"}).problems[0].startswith('engine option "isq"')
    assert ENGINE.accept({"prefill_chunk_size": 4}).problems == ('"params.prefill_chunk_size" is not for mistralrs',)


def test_its_templates_are_those_of_transformers() -> None:
    tokenizer = nano_tokenizer()
    ours = TemplateReader(TEMPLATE, special_tokens(NANO_HF))
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"é": {}}}}}]
    user, answer = {"role": "user", "content": "Hi <b>"}, {"role": "assistant", "content": "  It is "}
    for messages, continues in (([user], False), ([user, answer], True), ([user, answer, user], False)):
        wanted = {"tools": tools, "add_generation_prompt": not continues, "continue_final_message": continues}
        theirs = tokenizer.apply_chat_template(messages, chat_template=TEMPLATE, tokenize=False, **wanted)
        assert ours.apply_chat_template(messages, chat_template=TEMPLATE, tokenize=False, **wanted) == theirs


def test_a_template_that_refuses_is_the_caller_s_error() -> None:
    error = _refused(_body(), template="{{ raise_exception('no system') }}")
    assert "no system" in error["message"]
    assert _refused(_body(), template=None)["type"] == "not_supported_error"


def test_everything_is_told_to_the_library_where_the_request_is_silent(tmp_path: Path) -> None:
    asked = _requests().chat(_body()).arguments
    assert (asked["temperature"], asked["top_k"], asked["top_p"], asked["min_p"]) == (1.0, 0, 1.0, 0.0)
    assert not [name for name in asked if "penalty" in name]
    shutil.copy(NANO_HF / "generation_config.json", tmp_path)
    assert _requests(path=tmp_path).chat(_body()).arguments["temperature"] == 0
    (tmp_path / "generation_config.json").write_text('{"repetition_penalty": 1.2}')
    assert _requests(path=tmp_path).chat(_body()).arguments["repetition_penalty"] == 1.2
    assert _requests(path=tmp_path).chat(_body(repetition_penalty=1)).arguments["repetition_penalty"] == 1


@pytest.mark.parametrize("only_the_best", [{"top_p": 0}, {"min_p": 1}])
def test_what_the_library_would_take_for_nothing_leaves_the_best(only_the_best: dict[str, float]) -> None:
    asked = _requests().chat(_body(**only_the_best)).arguments
    assert (asked["top_k"], asked["top_p"], asked["min_p"]) == (1, 1.0, 0.0)


def test_a_seed_is_refused_where_tokens_are_drawn() -> None:
    error = _refused(_body(seed=1))
    assert (error["type"], error["param"]) == ("unsupported_parameter", "seed")
    told = ENGINE.translate_error(400, {"error": error}, model="m", worker="w")
    assert isinstance(told, UnsupportedParameter)
    for harmless in ({"temperature": 0}, {"top_k": 1}, {"seed": -1}):
        assert "seed" not in _requests().chat(_body(**{"seed": 1, **harmless})).arguments


def test_a_prompt_that_is_too_long_is_refused_and_the_rest_is_the_bound() -> None:
    error = _refused(_body(), context=20)
    assert (error["type"], error["n_ctx"]) == ("exceed_context_size_error", 20)
    asked = _requests(context=400).chat(_body(max_tokens=999))
    assert asked.arguments["max_tokens"] == 400 - asked.prompt_tokens


def test_what_the_tokenizer_puts_before_a_text_is_there_once() -> None:
    asked = _requests(template="^{{ messages[0].content }}").chat(_body())
    assert asked.arguments["messages"] == [{"role": "user", "content": "Hello"}]
    assert asked.prompt_tokens == len("^Hello")
    assert _requests().completion({"prompt": [ord("^"), ord("a")]}).arguments["messages"][0]["content"] == "a"


def test_a_model_that_thinks_is_free_to_until_it_has_finished() -> None:
    shape = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    asked = _requests(template=THINKING).chat(_body(response_format=shape))
    assert asked.is_raw
    assert 'thoughts[suffix="</think>"]' in asked.arguments["grammar"]
    assert asked.grammar_param == "response_format.json_schema.schema"
    assert "thoughts" not in _requests().chat(_body(response_format=shape)).arguments["grammar"]


def test_tokens_that_are_none_are_refused() -> None:
    assert _refused(_body(logit_bias={"300": 1}))["param"] == "logit_bias"
    with pytest.raises(ErrorResponse):
        _requests().completion({"prompt": [300]})


async def test_an_answer_comes_piece_by_piece_with_its_counts_at_the_end() -> None:
    runner = SharedRunner(Library(Stream(BUFFERED * 3)), one_prompt=True)
    pieces = [piece async for piece in runner.stream({"messages": []})]
    assert len(pieces) == BUFFERED * 3
    assert {piece.text for piece in pieces} == {""}
    assert (pieces[-1].finish_reason, pieces[-1].prompt_tokens, pieces[-1].completion_tokens) == ("stop", 3, 7)


async def test_an_error_of_the_library_is_the_last_piece() -> None:
    runner = SharedRunner(Library(Stream(1, "weights")), one_prompt=False)
    pieces = [piece async for piece in runner.stream({"messages": []})]
    assert pieces[-1].failure == "weights"


async def test_an_answer_that_nobody_reads_waits_and_is_dropped_when_they_leave() -> None:
    stream = Stream(10**9)
    answer = SharedRunner(Library(stream), one_prompt=True).stream({"messages": []})
    await anext(answer)
    assert not stream.is_dropped.is_set()
    await answer.aclose()
    assert await asyncio.to_thread(stream.is_dropped.wait, 5)
