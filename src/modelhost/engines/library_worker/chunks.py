"""One answer as the events of OpenAI's streams, made of tokens as they come."""

from __future__ import annotations

from typing import Any

from modelhost.engines.library_worker.asked import Asked
from modelhost.engines.library_worker.batcher import Event
from modelhost.engines.library_worker.events import AnswerEvents, failed
from modelhost.engines.library_worker.reader import ChatReader
from modelhost.engines.library_worker.sampling import Choice
from modelhost.engines.library_worker.stops import StopFinder
from modelhost.engines.library_worker.text import Vocabulary


class AnswerWriter:
    """Writes one answer; ``is_done`` once its end has been written, by the model or by what the request says."""

    def __init__(self, asked: Asked, vocabulary: Vocabulary) -> None:
        self._asked = asked
        self._vocabulary = vocabulary
        self._text = vocabulary.stream(asked.calling.form.markers if asked.calling else frozenset())
        self._stops = StopFinder(asked.stops)
        reader = ChatReader(calling=asked.calling, reads_reasoning=asked.reads_reasoning, is_thinking=asked.is_thinking)
        counting = self._usage if asked.continuous_usage else None
        self._events = AnswerEvents(asked.kind, asked.model, reader, counting)
        self._has_begun = False
        self._tokens = 0
        self._cached = 0
        self.is_done = False

    def write(self, event: Event) -> bytes:
        """Return the events for what the model did."""
        self._cached = event.cached_tokens
        if event.failure is not None:
            self.is_done = True
            return failed(event.failure)
        if event.is_prompt and event.choice is not None:
            self._events.add_logprob(self._logprob(event.choice))
            return b""
        data = b"" if self._has_begun else self._events.begin() + self._events.text(self._asked.echoed or "")
        self._has_begun = True
        if event.choice is not None:
            self._tokens += 1
            data += self._token(event.choice, is_text=event.is_text)
        if event.finish_reason is not None and not self.is_done:
            data += self._end(self._stops.finish(), event.finish_reason)
        return data

    def _token(self, choice: Choice, *, is_text: bool) -> bytes:
        if choice.logprob is not None and (is_text or self._asked.echoed is not None):
            self._events.add_logprob(self._logprob(choice))
        if not is_text:
            return b""
        text = self._text.feed(choice.token)
        if self._tokens > self._asked.sampling.min_tokens:
            text = self._stops.feed(text)
        data = self._events.text(text)
        if self._stops.is_found or self._events.is_whole:
            data += self._end("", "stop")
        return data

    def _end(self, text: str, finish_reason: str) -> bytes:
        """Write the end; what is left in the middle of a marker is text after all."""
        self.is_done = True
        usage = self._usage() if self._asked.include_usage else None
        return self._events.text(text) + self._events.end(finish_reason, usage)

    def _usage(self) -> dict[str, Any]:
        prompt = len(self._asked.prompt)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": self._tokens,
            "total_tokens": prompt + self._tokens,
            "prompt_tokens_details": {"cached_tokens": self._cached},
        }

    def _logprob(self, choice: Choice) -> dict[str, Any]:
        top = [self._weighed(token, logprob) for token, logprob in choice.top]
        return {**self._weighed(choice.token, choice.logprob), "top_logprobs": top}

    def _weighed(self, token: int, logprob: float | None) -> dict[str, Any]:
        piece = self._vocabulary.piece(token)
        return {"id": token, "token": piece, "bytes": list(piece.encode()), "logprob": logprob}
