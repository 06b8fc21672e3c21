"""Conversations in a batch get the scores that they get alone, whoever joins and leaves meanwhile. Real libraries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from modelhost.engines.mlx.worker import MlxLibrary
from modelhost.engines.transformers.library import TransformersLibrary, cache_argument
from modelhost.engines.worker.library import Library
from tests.support.nano_hf import NANO_HF

SMALL: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
}
PROMPTS = ([5, 9, 3, 8, 1, 2, 7, 4, 6, 11, 12, 13, 14], [1, 2], [40, 41, 42, 43, 44, 45, 46], [3] * 20)


# The libraries take seconds to import, which only the tests that use them should pay for.


def _full() -> Library:
    import torch  # noqa: PLC0415
    from transformers import Qwen3Config, Qwen3ForCausalLM  # noqa: PLC0415

    torch.manual_seed(1)
    torch.set_grad_enabled(False)
    return TransformersLibrary(Qwen3ForCausalLM(Qwen3Config(**SMALL)).eval(), "cpu")


def _sliding() -> Library:
    """Two layers that see the last four tokens only, and one that sees all."""
    import torch  # noqa: PLC0415
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig  # noqa: PLC0415

    torch.manual_seed(1)
    torch.set_grad_enabled(False)
    kinds = ["sliding_attention", "sliding_attention", "full_attention"]
    config = Gemma3TextConfig(**SMALL, sliding_window=4, layer_types=kinds)
    return TransformersLibrary(Gemma3ForCausalLM(config).eval(), "cpu")


def _mlx() -> Library:
    import mlx.core as mx  # noqa: PLC0415
    from mlx_lm.utils import load_model  # noqa: PLC0415

    mx.disable_compile()  # as the worker on a CPU; it would take a C++ compiler
    model, _ = load_model(NANO_HF)
    return MlxLibrary(model)


@pytest.fixture(scope="module", params=[_full, _sliding, _mlx])
def library(request: pytest.FixtureRequest) -> Library:
    make: Callable[[], Library] = request.param
    return make()


def _alone(library: Library, tokens: list[int]) -> Any:
    return library.prefill(library.new_cache(), tokens)


def _same(scores: Any, expected: Any) -> None:
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(scores, expected, rtol=0.02, atol=0.02 * np.abs(expected).max())


def test_a_prompt_in_chunks_is_the_prompt(library: Library) -> None:
    cache = library.new_cache()
    library.prefill(cache, PROMPTS[0][:5])
    library.prefill(cache, PROMPTS[0][5:6])
    _same(library.prefill(cache, PROMPTS[0][6:]), _alone(library, PROMPTS[0]))


def test_joining_and_leaving_changes_nothing_for_the_others(library: Library) -> None:
    batch = library.new_batch()
    held: list[list[int]] = []

    def join(*prompts: list[int]) -> None:
        caches = []
        for prompt in prompts:
            caches.append(library.new_cache())
            library.prefill(caches[-1], prompt)
        batch.add(caches)
        held.extend([*prompt] for prompt in prompts)

    def step(token: int) -> None:
        scores = batch.step([token + row for row in range(len(held))])
        for row, tokens in enumerate(held):
            tokens.append(token + row)
            _same(scores[row], _alone(library, tokens))

    join(PROMPTS[1])
    step(20)
    join(PROMPTS[0], PROMPTS[2])  # longer than what is there
    step(21)
    step(22)
    (left,) = batch.remove([1])  # the longest
    left_tokens = held.pop(1)
    step(23)
    join(PROMPTS[3])
    step(24)
    _same(library.prefill(left, [30, 31]), _alone(library, [*left_tokens, 30, 31]))
    first, last = batch.remove([0, 2])
    tokens = [held.pop(0), held.pop(1)]
    step(25)
    _same(library.prefill(last, [33]), _alone(library, [*tokens[1], 33]))
    _same(library.prefill(first, [34]), _alone(library, [*tokens[0], 34]))
    batch.remove([0])
    held.clear()
    join(PROMPTS[2])
    step(26)


def test_a_fork_goes_another_way_and_leaves_the_original(library: Library) -> None:
    cache = library.new_cache()
    library.prefill(cache, PROMPTS[0])
    fork = library.fork(cache, 6)
    assert fork is not None
    _same(library.prefill(fork, [50, 51]), _alone(library, [*PROMPTS[0][:6], 50, 51]))
    _same(library.prefill(cache, [52]), _alone(library, [*PROMPTS[0], 52]))
    assert library.size_bytes(cache) > 0


class _Renamed:
    def forward(self, input_ids: Any = None, cache: Any = None, use_cache: bool = True) -> Any: ...


class _Original:
    def forward(self, input_ids: Any = None, past_key_values: Any = None, use_cache: bool = True) -> Any: ...


class _Both:
    def forward(self, input_ids: Any = None, past_key_values: Any = None, cache: Any = None) -> Any: ...


class _Open:
    def forward(self, *args: Any, **kwargs: Any) -> Any: ...


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (_Renamed(), "cache"),
        (_Original(), "past_key_values"),
        (_Both(), "past_key_values"),
        (_Open(), "past_key_values"),
    ],
)
def test_the_cache_is_passed_under_the_name_that_the_model_takes(model: Any, name: str) -> None:
    assert cache_argument(model) == name
