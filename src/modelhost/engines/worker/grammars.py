"""Constraints of answers by grammars: llguidance (https://github.com/guidance-ai/llguidance) computes the allowed
tokens."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLTokenizer
from llguidance.gbnf_to_lark import GbnfToLarkError, any_to_lark
from numpy.typing import NDArray

from modelhost.engines.schemas.rules import GRAMMAR, STRUCTURED, answer_rule, json_rule, only_of
from modelhost.engines.worker.asgi import ErrorResponse, invalid


class Grammars:
    """Makes the constraints of one model; may be used in any thread."""

    def __init__(self, tokenizer: Any, *, vocab_size: int, eos_ids: frozenset[int]) -> None:
        self._fast = tokenizer
        self._vocab_size = vocab_size
        self._eos_ids = sorted(eos_ids)
        self._made: LLTokenizer | None = None
        self._lock = threading.Lock()

    def of_json(self, schema: Mapping[str, Any], *, param: str, after: Sequence[int] = ()) -> GrammarConstraint:
        """Return a constraint to JSON of ``schema``, which applies once the tokens ``after`` have been generated.

        Raises:
            ErrorResponse: the schema is not valid, or cannot be enforced.
        """
        return self._constraint(f"start: {json_rule(schema)}", param, after)

    def of_structured(self, structured: Mapping[str, Any], *, after: Sequence[int] = ()) -> GrammarConstraint:
        """Return a constraint for vLLM's ``structured_outputs``; raises as :meth:`of_json` does."""
        kind, value = only_of(structured)
        param = f"{STRUCTURED}.{kind}"
        if kind != GRAMMAR:
            return self._constraint(f"start: {answer_rule(kind, value)}", param, after)
        try:
            return self._constraint(any_to_lark(value), param, after)
        except GbnfToLarkError as error:
            raise _refusal(str(error), param) from error

    def of_lark(self, grammar: str, *, param: str) -> GrammarConstraint:
        """Return a constraint to a grammar in llguidance's variant of Lark; raises as :meth:`of_json` does."""
        return self._constraint(grammar, param, ())

    def _constraint(self, grammar: str, param: str, after: Sequence[int]) -> GrammarConstraint:
        compiled = LLMatcher.grammar_from_lark(grammar)
        matcher = LLMatcher(self._tokenizer(), compiled, log_level=0)
        if matcher.is_error():
            raise _refusal(matcher.get_error(), param)
        return GrammarConstraint(matcher, after=tuple(after))

    def _tokenizer(self) -> LLTokenizer:
        """The vocabulary in llguidance's form; made when it is first needed, which takes up to a second."""
        with self._lock:
            if self._made is None:
                self._made = LLTokenizer(
                    _without_limits(self._fast), n_vocab=self._vocab_size, eos_token=self._eos_ids or None
                )
            return self._made


class GrammarConstraint:
    """A :class:`~modelhost.engines.worker.sampling.Constraint` for one answer."""

    def __init__(self, matcher: LLMatcher, *, after: tuple[int, ...] = ()) -> None:
        self._matcher = matcher
        self._after = after
        self._recent: tuple[int, ...] = ()
        self._is_on = not after

    @property
    def is_complete(self) -> bool:
        return self._is_on and self._matcher.is_stopped()

    def allowed(self) -> NDArray[np.bool_] | None:
        if not self._is_on:
            return None
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        mask: NDArray[np.bool_] = np.unpackbits(bits, bitorder="little").view(np.bool_)
        return mask

    def accept(self, token: int) -> None:
        if self._is_on:
            self._matcher.consume_token(token)
            return
        self._recent = (*self._recent, token)[-len(self._after) :]
        self._is_on = self._recent == self._after


def _without_limits(tokenizer: Any) -> str:
    """Return the tokenizer as JSON, without any padding and truncation that were saved with it."""
    saved = json.loads(tokenizer.backend_tokenizer.to_str())
    return json.dumps({**saved, "padding": None, "truncation": None})


def _refusal(reason: str, param: str) -> ErrorResponse:
    first = reason.strip().splitlines()[0] if reason.strip() else "it cannot be used"
    return invalid(f"{param}: {first}", param=param)
