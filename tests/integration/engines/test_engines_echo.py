"""The prompt before a completion, and how likely it is: of every engine what the model itself computes."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest

from tests.integration.engines.served import CONTEXT, NANO_HF, Asking, Served

PATH = "/v1/completions"
PROMPTS = {
    "words": "Hello! What is the weather in Paris?",
    "parts of characters": "\u00e9 \u65e5\u672c \U0001f642 x",
    "ends of answers": "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n",
}
CLOSE = 0.05
"""What a file with 8 bits for a weight may differ by."""


@functools.cache
def _model() -> Any:
    import torch  # noqa: PLC0415
    from transformers import AutoModelForCausalLM  # noqa: PLC0415

    return AutoModelForCausalLM.from_pretrained(NANO_HF, dtype=torch.float32).eval()


def _own_scores(tokens: list[int]) -> list[float]:
    """Return how likely each token but the first is, as transformers computes it outside of any host."""
    import torch  # noqa: PLC0415

    with torch.no_grad():
        scores = torch.log_softmax(_model()(torch.tensor([tokens])).logits[0].double(), -1)
    return [float(scores[at, token]) for at, token in enumerate(tokens[1:])]


def _completion(asking: Asking, **body: Any) -> dict[str, Any]:
    answer = asking.post(PATH, {"temperature": 0, "echo": True, **body})
    assert answer.status_code == 200, answer.text
    whole: dict[str, Any] = answer.json()
    return whole


def _tokens(asking: Asking, text: str) -> list[int]:
    tokens: list[int] = asking.post("/tokenize", {"content": text, "add_special": True}).json()["tokens"]
    return tokens


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
@pytest.mark.parametrize("as_tokens", [False, True], ids=["text", "tokens"])
def test_how_likely_a_prompt_is_is_what_the_model_computes(
    asking: Asking, served: Served, prompt: str, as_tokens: bool
) -> None:
    if served.capabilities.provider_of("prompt_logprobs") == "refused":
        pytest.skip("refused, which test_engines_capabilities.py looks at")
    tokens = _tokens(asking, prompt)
    whole = _completion(asking, prompt=tokens if as_tokens else prompt, max_tokens=1, logprobs=1)
    (choice,) = whole["choices"]
    told = choice["logprobs"]
    assert choice["text"].startswith(prompt)
    # lm-evaluation-harness leaves the last one out, which is to be the one that was written, whatever it is.
    assert {len(values) for values in told.values()} == {len(tokens) + 1}
    first, *scores = told["token_logprobs"][:-1]
    assert first is None
    assert told["top_logprobs"][0] is None
    assert scores == pytest.approx(_own_scores(tokens), abs=CLOSE)
    assert all(max(top.values()) >= score for top, score in zip(told["top_logprobs"][1:-1], scores, strict=True))
    assert whole["usage"]["prompt_tokens"] == len(tokens)
    assert whole["usage"]["completion_tokens"] == 1


def test_prompts_alone_come_back_in_their_order(asking: Asking, served: Served) -> None:
    prompts = list(PROMPTS.values())
    likely = {} if served.capabilities.provider_of("prompt_logprobs") == "refused" else {"logprobs": 2}
    whole = _completion(asking, prompt=prompts, max_tokens=0, **likely)
    assert [choice["text"] for choice in whole["choices"]] == prompts
    # vLLM writes a token behind each that it does not show, which may be the end.
    unseen, end = (len(prompts), {"stop"}) if served.engine == "vllm" else (0, set())
    assert {choice["finish_reason"] for choice in whole["choices"]} - end == {"length"}
    count = sum(len(_tokens(asking, prompt)) for prompt in prompts)
    assert (whole["usage"]["prompt_tokens"], whole["usage"]["completion_tokens"]) == (count, unseen)
    if likely:
        assert sum(len(choice["logprobs"]["tokens"]) for choice in whole["choices"]) == count


def test_the_answer_behind_a_prompt_is_the_one_without_it(asking: Asking) -> None:
    prompt = PROMPTS["words"]
    alone = asking.post(PATH, {"prompt": prompt, "temperature": 0, "max_tokens": 8}).json()
    behind = _completion(asking, prompt=prompt, max_tokens=8)
    assert behind["choices"][0]["text"] == prompt + alone["choices"][0]["text"]
    assert behind["choices"][0]["finish_reason"] == alone["choices"][0]["finish_reason"]
    assert behind["usage"]["completion_tokens"] == alone["usage"]["completion_tokens"]


@pytest.mark.parametrize("max_tokens", [0, 4])
def test_a_stream_begins_with_the_prompt(asking: Asking, max_tokens: int) -> None:
    body = {"prompt": PROMPTS["words"], "temperature": 0, "max_tokens": max_tokens, "echo": True}
    streamed = asking.post(PATH, {**body, "stream": True, "stream_options": {"include_usage": True}})
    *lines, end = [line for line in streamed.text.splitlines() if line.startswith("data: ")]
    assert end == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines]
    whole = _completion(asking, **body)
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert "".join(choice["text"] for chunk in chunks for choice in chunk["choices"]) == whole["choices"][0]["text"]
    counts = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
    assert [usage["completion_tokens"] for usage in counts] == [whole["usage"]["completion_tokens"]]


def test_a_prompt_that_is_too_long_to_be_echoed_is_refused(asking: Asking, served: Served) -> None:
    likely = {} if served.capabilities.provider_of("prompt_logprobs") == "refused" else {"logprobs": 1}
    answer = asking.post(PATH, {"prompt": "a " * CONTEXT, "max_tokens": 1, "echo": True, **likely})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert answer.json()["error"]["param"] == "prompt"
