"""The check of a build of llama.cpp before hosts use it: beside the wheel, with the bundled model.

It has to give what it reads the scores that the wheel does, to write the wheel's answers, and to be there afterwards;
on the way it is measured how quick it is.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from modelhost.engines.launch import Ready
from modelhost.engines.llamacpp.features import GPU_FRAMEWORKS, LLGUIDANCE
from modelhost.engines.llamacpp.record import ENGINE
from modelhost.engines.traits import Build
from modelhost.errors import EngineMissing

PROMPTS: Final = (
    *("Hello!", "Good morning", "Who are you?", "What is your name?", "How are you?", "What can you do?"),
    *("What is 2+3?", "Count to five.", "My name is Ada.", "Repeat after me: blue sky"),
    *("What is the capital of France?", "What is the weather in Paris?", "Which tools do you have?"),
    *("Thank you!", "Bye"),
)
"""What the bundled model was trained to answer, or to say that it cannot."""
TOLERANCE: Final = 1e-2
"""By how much the logit of a token may differ from the wheel's.

Builds for other instructions sum the products of a row in another order, and llama.cpp rounds the sums to 16 bits
before they are multiplied again. In all 289 places of 16 answers of the bundled model, llama.cpp's own variant for
AVX-512 differed from that for AVX2 by at most 0.0063, the one without AVX by 0.0061, and AVX2 without flash attention
from AVX2 with it by 0.0097; instructions for VNNI and bfloat16 changed nothing (v0.5.0, Intel Xeon, 2026-11-30).
"""
GPU_TOLERANCE: Final = 3e-2
"""The same on GPUs: CUDA sums products of float16 in 16 bits (``CUBLAS_COMPUTE_16F`` in ``ggml-cuda.cu``)."""
ON_GPUS: Final = ("cuda", "hip", "vulkan", "metal")
COMPARED: Final = 50
"""Tokens whose scores are compared: the likeliest."""
PROMPT_TOKENS: Final = 512
SHORT_PROMPT_TOKENS: Final = 8
"""Of the answers whose speed is measured. The bundled model has heads of 32 values, others of 64 and more: after
a long prompt its answers are mostly attention, for which builds with AVX-512 need 2 to 4 times as long as the wheel."""
ANSWER_TOKENS: Final = 64
ROUNDS: Final = 4
"""Each measures both twice, one right after the other: the wheel, the build, the build, the wheel."""
SERIES: Final = 3
"""How often the rounds are repeated at most, until what they say does not contradict itself."""


class CheckedWorker(Protocol):
    """What the check needs of a worker."""

    @property
    def ready(self) -> Ready:
        """What it announced."""
        ...

    async def fetch(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return the JSON that it answers to ``body`` at ``path``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What the check of a build has found."""

    features: tuple[str, ...]
    has_llguidance: bool
    factors: Mapping[str, float]
    """How many times as fast as the wheel it is, with ``prompts`` and with ``answers``."""
    scores_differ_by: float
    """The largest difference of a logit from the wheel's."""
    other_answers: Mapping[str, float]
    """Prompts whose greedy answer is not the wheel's, with the distance of the two likeliest tokens where they part."""


async def check(wheel: CheckedWorker, built: CheckedWorker, build: Build) -> Checked:
    """Check ``built``, a worker with the build, beside one with the wheel; both have the bundled model.

    Raises:
        EngineMissing: it does not do what the wheel does; the message says what.
    """
    features = built.ready.features
    if build in ON_GPUS and GPU_FRAMEWORKS.isdisjoint(features):
        raise failed("it finds no GPU to compute on")
    scores_differ_by, other_answers = await _compared(wheel, built, GPU_TOLERANCE if build in ON_GPUS else TOLERANCE)
    return Checked(
        features=features,
        has_llguidance=LLGUIDANCE in features,
        factors=await _factors(wheel, built),
        scores_differ_by=scores_differ_by,
        other_answers=other_answers,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A greedy answer. For each of its tokens, the scores of the likeliest tokens at its place, by their ids."""

    tokens: tuple[int, ...]
    scores: tuple[Mapping[int, float], ...]


async def _compared(wheel: CheckedWorker, built: CheckedWorker, tolerance: float) -> tuple[float, Mapping[str, float]]:
    """Return by how much scores differ, and the answers that do, as :class:`Checked` has them.

    Raises:
        EngineMissing: they differ by more than rounding explains.
    """
    worst, other_answers = 0.0, {}
    for prompt in PROMPTS:
        expected, found = await _answer(wheel, prompt), await _answer(built, prompt)
        if not found.tokens:
            raise failed(f'it has no answer to "{prompt}"')
        difference = difference_of(expected.scores[0], found.scores[0])
        if difference > tolerance:
            raise failed(f'its scores for "{prompt}" differ from the wheel\'s by {difference:.3g}')
        worst = max(worst, difference)
        if (distance := distance_where_parted(expected, found)) is None:
            continue
        if distance > 2 * tolerance:
            raise failed(
                f'its answer to "{prompt}" is not the wheel\'s, although the scores of the two likeliest tokens are '
                f"{distance:.3g} apart where they part"
            )
        other_answers[prompt] = round(distance, 4)
    return round(worst, 4), other_answers


async def _answer(worker: CheckedWorker, prompt: str) -> Answer:
    messages = [{"role": "user", "content": prompt}]
    text = (await worker.fetch("/apply-template", {"messages": messages}))["prompt"]
    body = {"prompt": text, "n_predict": ANSWER_TOKENS, "n_probs": COMPARED, "temperature": 0}
    steps = (await worker.fetch("/completion", body))["completion_probabilities"]
    return Answer(
        tokens=tuple(step["id"] for step in steps),
        scores=tuple({each["id"]: each["logprob"] for each in step["top_logprobs"]} for step in steps),
    )


def difference_of(expected: Mapping[int, float], found: Mapping[int, float]) -> float:
    """Return the largest difference between logits, of which the two know the likeliest as logarithms of probabilities.

    These are logits less a number that is the same for all tokens of a place, so that half of what their differences
    span is the least that the largest difference of logits can be. The lists hold as many each: at their ends, another
    token may be the last one.
    """
    shared = expected.keys() & found.keys()
    if max(expected, key=expected.__getitem__) not in shared:
        return float("inf")
    differences = [found[token] - expected[token] for token in shared]
    return (max(differences) - min(differences)) / 2


def distance_where_parted(expected: Answer, found: Answer) -> float | None:
    """Return how far apart the scores of the two likeliest tokens are where the answers part; ``None``: they are the
    same. No end of an answer is among its tokens: where one of them ends, the other's scores decide.
    """
    if expected.tokens == found.tokens:
        return None
    pairs = zip(expected.tokens, found.tokens, strict=False)
    parted = next((place for place, (ours, theirs) in enumerate(pairs) if ours != theirs), None)
    if parted is None:
        parted = min(len(expected.tokens), len(found.tokens))
    longer = expected if len(expected.scores) > parted else found
    first, second = sorted(longer.scores[parted].values(), reverse=True)[:2]
    return first - second


async def _factors(wheel: CheckedWorker, built: CheckedWorker) -> Mapping[str, float]:
    await _timed(wheel)
    await _timed(built)
    pairs: list[tuple[Mapping[str, float], Mapping[str, float]]] = []
    for _ in range(SERIES):
        for _ in range(ROUNDS):
            pairs.append((await _timed(wheel), await _timed(built)))
            pair = await _timed(built), await _timed(wheel)
            pairs.append((pair[1], pair[0]))
        if not are_contradictory(pairs):
            break
    return factors_of(pairs)


def are_contradictory(pairs: Sequence[tuple[Mapping[str, float], Mapping[str, float]]]) -> bool:
    """Return whether pairs of timings, as :func:`factors_of` takes them, leave open which of the two is quicker.

    They do if one is quicker with prompts and the other with answers, or if more than a quarter of the pairs say
    something else than the rest.
    """
    factors = factors_of(pairs).values()
    if min(factors) < 1 < max(factors):
        return True
    quicker = sum(math.prod(factors_of([pair]).values()) > 1 for pair in pairs)
    return len(pairs) / 4 < quicker < len(pairs) * 3 / 4


def factors_of(rounds: Sequence[tuple[Mapping[str, float], Mapping[str, float]]]) -> Mapping[str, float]:
    """Return how many times as fast the second of each pair of timings is: the median of what the pairs say.

    What else the machine does slows both of a pair down, and may be over before the next one.
    """
    return {
        what: round(statistics.median(built[key] / wheel[key] for wheel, built in rounds), 3)
        for what, key in (("prompts", "prompt_per_second"), ("answers", "predicted_per_second"))
    }


async def _timed(worker: CheckedWorker) -> Mapping[str, float]:
    """Return how many tokens of a prompt, and of an answer, ``worker`` does in a second."""
    prompt = await _timings(worker, prompt_tokens=PROMPT_TOKENS, answer_tokens=1)
    answer = await _timings(worker, prompt_tokens=SHORT_PROMPT_TOKENS, answer_tokens=ANSWER_TOKENS)
    return {"prompt_per_second": prompt["prompt_per_second"], "predicted_per_second": answer["predicted_per_second"]}


async def _timings(worker: CheckedWorker, *, prompt_tokens: int, answer_tokens: int) -> Mapping[str, float]:
    body: dict[str, Any] = {
        "prompt": [10 + (7 * place) % 200 for place in range(prompt_tokens)],
        "n_predict": answer_tokens,
        "ignore_eos": True,
        "cache_prompt": False,
        "temperature": 0,
    }
    timings: Mapping[str, float] = (await worker.fetch("/completion", body))["timings"]
    return timings


def failed(what: str) -> EngineMissing:
    """Return the error of a build that does not pass: ``what`` is why."""
    return EngineMissing(f"The build of llama.cpp does not pass its check: {what}", engine=ENGINE)
