"""The settings that change how llama.cpp runs a model, each seen to act on the real engine."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from modelhost import Host, ModelhostError
from tests.support.adapter_files import write_gguf_adapter

NANO = Path(str(files("modelhost"))) / "assets" / "nano" / "modelhost-nano.gguf"
WITHOUT_SYSTEM = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\nTEMPLATE {{ m.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)


async def answer(**settings: Any) -> dict[str, Any]:
    async with Host(**settings) as host:
        return await host.chat("Hello!", temperature=0, max_tokens=16, logprobs=True)


def text_of(completion: dict[str, Any]) -> str:
    return str(completion["choices"][0]["message"]["content"])


def logprobs_of(completion: dict[str, Any]) -> list[float]:
    return [token["logprob"] for token in completion["choices"][0]["logprobs"]["content"]]


async def test_a_lora_adapter_changes_the_answer_and_its_scale_is_honoured(tmp_path: Path) -> None:
    adapter = write_gguf_adapter(tmp_path / "adapter.gguf", 0)
    plain = await answer()
    assert logprobs_of(await answer(lora=(f"{adapter}:0.0",))) == pytest.approx(logprobs_of(plain), abs=1e-4)
    assert logprobs_of(await answer(lora=(str(adapter),))) != pytest.approx(logprobs_of(plain), abs=1e-2)


async def test_a_draft_model_leaves_the_greedy_answer_as_it_is_and_is_really_used() -> None:
    plain = await answer()
    async with Host(draft_model=str(NANO)) as host:
        usage = {"include_usage": True}
        chunks = [
            chunk async for chunk in host.chat_stream("Hello!", temperature=0, max_tokens=16, stream_options=usage)
        ]
    drafted = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
    assert drafted == text_of(plain)
    assert chunks[-1]["timings"]["draft_n"] > 0


async def test_what_a_text_repeats_is_guessed_ahead() -> None:
    text = "one two three four " * 12
    asked: dict[str, Any] = {"grammar": f'root ::= "{text}"', "temperature": 0, "max_tokens": 300}
    async with Host(engine_options={"speculation": "ngram-simple"}) as host:
        usage = {"include_usage": True}
        chunks = [chunk async for chunk in host.chat_stream("Count!", stream_options=usage, **asked)]
    written = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
    assert written == text
    assert chunks[-1]["timings"]["draft_n"] > 0


@pytest.mark.parametrize(
    "options", [{"flash_attention": "off"}, {"flash_attention": "on"}, {"micro_batch_size": 32}, {"threads_batch": 1}]
)
async def test_options_for_speed_leave_the_answer_as_it_is(options: dict[str, Any]) -> None:
    plain, other = await answer(), await answer(engine_options=options)
    assert text_of(other) == text_of(plain)
    assert logprobs_of(other) == pytest.approx(logprobs_of(plain), abs=0.05)


async def test_a_quantized_key_value_cache_changes_the_numbers_a_little() -> None:
    plain, quantized = await answer(), await answer(kv_cache_type="q8_0")
    assert logprobs_of(quantized)[:1] == pytest.approx(logprobs_of(plain)[:1], abs=0.5)
    assert logprobs_of(quantized)[:1] != logprobs_of(plain)[:1]


@pytest.mark.promise("mistralrs.models.templates")
@pytest.mark.parametrize("as_file", [False, True], ids=["text", "file"])
async def test_a_chat_template_of_ones_own_replaces_the_models(tmp_path: Path, as_file: bool) -> None:
    template = WITHOUT_SYSTEM
    if as_file:
        (tmp_path / "template.jinja").write_text(template)
        template = str(tmp_path / "template.jinja")
    plain, own = await answer(), await answer(chat_template=template)
    assert own["usage"]["prompt_tokens"] != plain["usage"]["prompt_tokens"]


async def test_the_context_length_is_that_of_each_conversation() -> None:
    async with Host(context_length=64, slots=2) as host:
        with pytest.raises(ModelhostError, match="length is 64 tokens") as caught:
            await host.chat("word " * 100)
    assert caught.value.details["context_length"] == 64


async def test_a_draft_model_leaves_it_as_it_is_how_likely_a_prompt_is() -> None:
    # The beginning is repeated, so that the draft guesses some of the tokens.
    prompt = " ".join(["Hello! What is the weather in Paris?"] * 2 + ["Hello! What is"])
    scores = []
    for draft in (None, str(NANO)):
        async with Host(draft_model=draft) as host:
            asked: dict[str, Any] = {"prompt": prompt, "max_tokens": 0, "echo": True, "logprobs": 1}
            answer = await host.call("completions", asked)
            scores.append(answer["choices"][0]["logprobs"]["token_logprobs"][1:])
    alone, with_draft = scores
    assert with_draft == pytest.approx(alone, abs=0.1)


@pytest.mark.parametrize("setting", ["lora", "draft_model", "chat_template"])
async def test_a_file_that_is_not_there_is_named_with_its_setting(setting: str) -> None:
    value: Any = ("missing.gguf",) if setting == "lora" else "missing.gguf"
    with pytest.raises(ModelhostError, match=f"{setting}.*missing.gguf"):
        await Host(**{setting: value}).start()
