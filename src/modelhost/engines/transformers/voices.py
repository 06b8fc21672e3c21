"""What the models that speak on transformers have in common: names of voices, steps, refusals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from modelhost.engines.media.refusals import NOTHING_TO_SPEAK, PROMPT_TOO_LONG
from modelhost.engines.worker.asgi import UNSUPPORTED, ErrorResponse, error_body


class ClientLeft(Exception):
    """Ends a call of the library from within."""


class Steps:
    """A streamer of transformers, called with the prompt and after each step: it counts, and ends what nobody hears.

    Some of these models ignore stopping criteria; all have streamers.
    """

    def __init__(self, goes_on: Callable[[], bool]) -> None:
        self._goes_on = goes_on
        self.count = -1
        """Steps that are done; the prompt is none."""
        self.last: Any = None
        """What the last step has drawn."""

    def put(self, drawn: Any) -> None:
        """Note a step; raises ClientLeft."""
        if not self._goes_on():
            raise ClientLeft
        self.count += 1
        self.last = drawn

    def end(self) -> None:
        """Do nothing: whoever has called the model knows that it has ended."""


def named_voices(names: Mapping[str, int] | None, own: Sequence[str]) -> dict[str, str]:
    """Return the model's ``own`` voices by the names that clients send: ``names`` has their numbers, from 0.

    Raises:
        ValueError: there are not so many.
    """
    if not names:
        return {voice: voice for voice in own}
    if beyond := [name for name, number in names.items() if not 0 <= number < len(own)]:
        raise ValueError(f"voices: {', '.join(beyond)}: the model has {len(own)} voices, from 0 to {len(own) - 1}")
    return {name: own[number] for name, number in names.items()}


def library_version() -> str:
    """Return what a worker says of its libraries."""
    import torch  # noqa: PLC0415 (as above)
    from transformers import __version__  # noqa: PLC0415

    return f"transformers {__version__}, torch {torch.__version__}"


def draw_from(seed: int | None) -> None:
    """Let what is drawn from now on follow from ``seed``; without one, from chance."""
    import torch  # noqa: PLC0415 (as above)

    torch.manual_seed(seed) if seed is not None else torch.seed()


def check_speed(speed: float, kind: str) -> None:
    """Refuse a speed that a model without one cannot have; raises ErrorResponse."""
    if speed != 1:
        message = f"speed: a {kind} model decides by itself how fast it speaks; leave speed out."
        raise ErrorResponse(400, error_body(400, UNSUPPORTED, message, param="speed"))


def refuse_long_text(count: int, most: int) -> NoReturn:
    """Refuse a text of ``count`` tokens; raises ErrorResponse."""
    message = f"input: a text has {count} tokens, and the model takes {most}: send it in parts."
    raise ErrorResponse(400, error_body(400, PROMPT_TOO_LONG, message, param="input"))


def refuse_long_audio(seconds: float) -> NoReturn:
    """Refuse a text that is not at its end when the audio has the greatest length; raises ErrorResponse."""
    message = (
        f"input: the model speaks for {seconds:.1f} seconds at most, and the text was not at its end: send it in parts."
    )
    raise ErrorResponse(400, error_body(400, PROMPT_TOO_LONG, message, param="input"))


def refuse_silence() -> NoReturn:
    """Refuse a text of which the model has made no audio; raises ErrorResponse."""
    message = "input: the model ended before it had spoken anything: send another text, or another seed."
    raise ErrorResponse(400, error_body(400, NOTHING_TO_SPEAK, message, param="input"))
