"""The check of a build of llama.cpp before hosts use it: beside the wheel, with the bundled model.

It has to answer, to give what it reads the same scores as the wheel does, and to be there afterwards; on the way it is
measured how quick it is.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from modelhost.config.settings import Settings
from modelhost.engines.launch import ModelSpec
from modelhost.engines.llamacpp.engine import LlamaCpp
from modelhost.engines.llamacpp.features import GPU_FRAMEWORKS, LLGUIDANCE
from modelhost.engines.llamacpp.installation import OPTION as SERVER
from modelhost.engines.llamacpp.machine import Build
from modelhost.errors import EngineMissing, ModelhostError
from modelhost.models.resolve.resolve import resolve
from modelhost.workers.launching import launch_worker
from modelhost.workers.process import WorkerProcess
from modelhost.workers.worker import Worker

PROMPTS: Final = ("Hello!", "Who are you?", "What is 2+3?")
"""What the bundled model was trained to answer."""
TOLERANCE: Final = 1e-2
"""By how much a logarithm of a token's probability may differ."""
COMPARED: Final = 50
"""Tokens of a prompt whose scores are compared: the likeliest."""
CONTEXT: Final = 1024
PROMPT_TOKENS: Final = 512
ANSWER_TOKENS: Final = 64
ROUNDS: Final = 7
"""Each measures both, one right after the other."""
SECONDS_TO_START: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What the check of a build has found."""

    features: tuple[str, ...]
    has_llguidance: bool
    factors: Mapping[str, float]
    """How many times as fast as the wheel it is, with ``prompts`` and with ``answers``."""


async def check_build(python: Path, build: Build) -> Checked:
    """Check the build in the environment of ``python``.

    Raises:
        EngineMissing: it does not do what the wheel does; the message says what.
    """
    wheel = replace(bundled_model(), name="llama.cpp's wheel", python=None, has_fallback=False)
    built = replace(wheel, name="the build", python=str(python))
    try:
        async with AsyncExitStack() as stack:
            workers = [await _started(spec, stack) for spec in (wheel, built)]
            return await _checked(workers[0], workers[1], build)
    except EngineMissing:
        raise
    except ModelhostError as error:
        raise _failed(error.message) from error


def bundled_model() -> ModelSpec:
    """Return the bundled model for the library itself, whatever program the environment names in its place."""
    options = {SERVER: ""}
    settings = {"engine": LlamaCpp.name, "context_length": CONTEXT, "slots": 1, "engine_options": options}
    return resolve(Settings.model_validate(settings)).spec


async def _started(spec: ModelSpec, stack: AsyncExitStack) -> Worker:
    worker = await launch_worker(spec, LlamaCpp(), timeout_seconds=SECONDS_TO_START, start_process=WorkerProcess.start)
    stack.push_async_callback(worker.close)
    return worker


async def _checked(wheel: Worker, built: Worker, build: Build) -> Checked:
    features = built.ready.features
    if build in ("cuda", "hip", "vulkan", "metal") and GPU_FRAMEWORKS.isdisjoint(features):
        raise _failed("it finds no GPU to compute on")
    for prompt in PROMPTS:
        if not await _answer(built, prompt):
            raise _failed(f'it has no answer to "{prompt}"')
        if difference := worst_difference(await _scores(wheel, prompt), await _scores(built, prompt)):
            raise _failed(f'its scores for "{prompt}" differ from the wheel\'s by {difference:.3g}')
    factors = await _factors(wheel, built)
    return Checked(features=features, has_llguidance=LLGUIDANCE in features, factors=factors)


async def _answer(worker: Worker, prompt: str) -> str:
    body = {"messages": [{"role": "user", "content": prompt}], "max_tokens": ANSWER_TOKENS, "temperature": 0}
    said = await worker.fetch("/v1/chat/completions", body)
    return str(said["choices"][0]["message"]["content"] or "").strip()


async def _scores(worker: Worker, prompt: str) -> Mapping[int, float]:
    """Return the logarithms of the probabilities of the likeliest tokens behind ``prompt``."""
    said = await worker.fetch("/completion", {"prompt": prompt, "n_predict": 1, "n_probs": COMPARED, "temperature": 0})
    return {each["id"]: each["logprob"] for each in said["completion_probabilities"][0]["top_logprobs"]}


def worst_difference(expected: Mapping[int, float], found: Mapping[int, float]) -> float:
    """Return the largest difference between scores of the same token, 0 if all are within ``TOLERANCE``.

    The lists hold as many each: at their ends, another token may be the last one.
    """
    shared = expected.keys() & found.keys()
    likeliest = max(expected, key=lambda token: expected[token])
    if likeliest not in shared:
        return float("inf")
    worst = max(abs(expected[token] - found[token]) for token in shared)
    return worst if worst > TOLERANCE else 0.0


async def _factors(wheel: Worker, built: Worker) -> Mapping[str, float]:
    await _timed(wheel)
    await _timed(built)
    return factors_of([(await _timed(wheel), await _timed(built)) for _ in range(ROUNDS)])


def factors_of(rounds: Sequence[tuple[Mapping[str, float], Mapping[str, float]]]) -> Mapping[str, float]:
    """Return how many times as fast the second of each pair of timings is: the median of what the pairs say.

    What else the machine does slows both of a pair down, and may be over before the next one.
    """
    return {
        what: round(statistics.median(built[key] / wheel[key] for wheel, built in rounds), 3)
        for what, key in (("prompts", "prompt_per_second"), ("answers", "predicted_per_second"))
    }


async def _timed(worker: Worker) -> Mapping[str, float]:
    """Return how many tokens of a prompt, and of an answer, ``worker`` does in a second."""
    body: dict[str, Any] = {
        "prompt": [10 + (7 * place) % 200 for place in range(PROMPT_TOKENS)],
        "n_predict": ANSWER_TOKENS,
        "ignore_eos": True,
        "cache_prompt": False,
        "temperature": 0,
    }
    timings: Mapping[str, float] = (await worker.fetch("/completion", body))["timings"]
    return timings


def _failed(what: str) -> EngineMissing:
    return EngineMissing(f"The build of llama.cpp does not pass its check: {what}", engine=LlamaCpp.name)
