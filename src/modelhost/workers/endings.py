"""The errors of requests whose worker this host has ended."""

from __future__ import annotations

from collections.abc import Callable

from modelhost.errors import EngineError, ModelhostError, ModelUnloaded, ShuttingDown, WorkerCrashed

MakeError = Callable[[str, str], ModelhostError]
"""Makes the error of one request from the names of the model and the worker."""


def stopped(model: str, _worker: str) -> ModelhostError:
    return ShuttingDown(f"{model} was stopped before the answer was complete.")


def unloaded_by_force(model: str, _worker: str) -> ModelhostError:
    return ModelUnloaded(
        f"{model} was unloaded by force before the answer was complete. Try again to load it again.", model=model
    )


def unreachable(model: str, worker: str) -> ModelhostError:
    """Its process ran, but nothing listened at its address."""
    return WorkerCrashed(
        f"The worker of {model} did not listen at its address any more (its socket may have been deleted) and was "
        "ended. It is being restarted; try again.",
        model=model,
        worker=worker,
        reason="unreachable",
    )


def no_progress(seconds: float) -> MakeError:
    """The watchdog ended the request: nothing arrived for ``seconds``, while others were answered."""
    return _silence(
        EngineError,
        "The engine of {model} did nothing about this request for {seconds:g} s, while it answered others. "
        "The request was ended. A schema or a prompt that takes so long to prepare has to be made simpler.",
        seconds,
    )


def stalled(seconds: float) -> MakeError:
    """The watchdog ended the worker: it produced nothing for ``seconds`` while it had work."""
    return _silence(
        WorkerCrashed,
        "The worker of {model} produced nothing for {seconds:g} s while it had work and was ended. "
        "It is being restarted; try again.",
        seconds,
    )


def _silence(kind: type[EngineError | WorkerCrashed], words: str, seconds: float) -> MakeError:
    silent_seconds = round(seconds, 1)

    def explain(model: str, worker: str) -> ModelhostError:
        message = words.format(model=model, seconds=silent_seconds)
        return kind(message, model=model, worker=worker, reason="stalled", silent_seconds=silent_seconds)

    return explain
