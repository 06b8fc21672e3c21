"""vLLM's ``min_tokens`` and ``stop_token_ids`` for llama.cpp, whose server has neither: grammars of tokens.

* ``min_tokens``: that many tokens of any kind, then any number of them. An incomplete grammar allows no token that ends
  the answer.
* ``stop_token_ids``: any other tokens; after one of those, the grammar requires ``MARK``, which is a stop string. The
  text of the token is part of that stop string, so that it is left out, as with vLLM. The mark counts as a token of the
  answer.

https://github.com/ggml-org/llama.cpp/blob/master/grammars/README.md. The second one needs llguidance: llama.cpp's own
grammars can exclude one token, but not several.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from modelhost.engines.launch import Ready
from modelhost.engines.token_limits import MIN_TOKENS, STOP_TOKEN_IDS, check_token_limits
from modelhost.errors import InvalidRequest, UnsupportedParameter

IGNORE_EOS: Final = "ignore_eos"
CONSTRAINTS: Final = ("grammar", "json_schema")
EXCLUDED: Final = (*CONSTRAINTS, "tools")
"""Fields that llama.cpp makes grammars of itself."""
LEAST: Final = "root ::= least"
"""The beginning of grammars for ``min_tokens``."""
MOST_AT_LEAST: Final = 100_000
MARK: Final = "\u0001"
"""A token of every vocabulary that models do not write."""


def with_min_tokens(body: dict[str, Any]) -> dict[str, Any]:
    """Return ``body`` with a grammar in place of ``min_tokens``.

    ``stop_token_ids`` are left to :mod:`.preparation`.

    Raises:
        InvalidRequest: one of them is not valid.
        UnsupportedParameter: it cannot be combined with another field.
    """
    check_token_limits(body)
    least, ids = body.pop(MIN_TOKENS, None), body.get(STOP_TOKEN_IDS)
    if not ids:
        body.pop(STOP_TOKEN_IDS, None)
    name = STOP_TOKEN_IDS if ids else MIN_TOKENS if least else None
    if name is None:
        return body
    if other := constraining(body):
        raise _not_together(name, other)
    if least:
        if ids or body.get("stop"):
            other = STOP_TOKEN_IDS if ids else "stop, which ends an answer however short it is"
            raise _not_together(MIN_TOKENS, other)
        body["grammar"] = min_tokens_grammar(least)
    return body


def check_ignore_eos(body: Mapping[str, Any]) -> None:
    """Check that ``ignore_eos``, an answer without an end, is not combined with a grammar, which has an end.

    llama.cpp would continue after that end, without constraints. Tools that may be called are no such grammar.

    Raises:
        UnsupportedParameter: they are combined.
    """
    if not body.get(IGNORE_EOS):
        return
    other = constraining(body, among=CONSTRAINTS)
    if other is None and body.get("tools") and body.get("tool_choice") == "required":
        other = "a call that tool_choice demands"
    if other is not None:
        raise UnsupportedParameter(
            f"{IGNORE_EOS}: an answer that has to follow something ends where that ends, so that llama.cpp cannot have "
            f"it together with {other}; leave one of them out.",
            param=IGNORE_EOS,
        )


def constraining(body: Mapping[str, Any], among: Sequence[str] = EXCLUDED) -> str | None:
    """Return the field of ``body`` that llama.cpp makes a grammar of, if any."""
    if (found := next((each for each in among if body.get(each)), None)) is not None:
        return found
    output = body.get("response_format") or {}
    return "response_format" if output.get("type", "text") != "text" else None


def _not_together(name: str, other: str) -> UnsupportedParameter:
    return UnsupportedParameter(
        f"{name}: llama.cpp cannot have it together with {other}; leave one of them out. vLLM can.", param=name
    )


def min_tokens_grammar(least: int) -> str:
    """Return the grammar of any text of at least ``least`` tokens; raises InvalidRequest if those are too many.

    Repetitions are nested: llama.cpp accepts up to 2,000 of one rule.
    """
    if least > MOST_AT_LEAST:
        raise InvalidRequest(f"min_tokens: llama.cpp takes {MOST_AT_LEAST:,} at most.", param=MIN_TOKENS)
    hundreds, rest = divmod(least, 100)
    parts = [f"hundred{{{hundreds}}}"] * bool(hundreds) + [f"any{{{rest}}}"] * bool(rest)
    return f"{LEAST} any*\nleast ::= {' '.join(parts)}\nhundred ::= any{{100}}\nany ::= <[0]> | !<[0]>"


def check_min_tokens(body: Mapping[str, Any], ready: Ready) -> None:
    """Check that ``min_tokens`` is not combined with the stop strings of the worker; raises as above."""
    if ready.chat_stops and str(body.get("grammar") or "").startswith(LEAST):
        raise _not_together(MIN_TOKENS, "a model without a chat template, whose answers end where the user would speak")


def stop_grammar(ids: Sequence[int], vocabulary: int) -> str:
    """Return the grammar in which :data:`MARK` follows each of ``ids``, sorted, of a vocabulary of that size."""
    others = ",".join(f"{first}-{last}" for first, last in _between(ids, vocabulary))
    body = f"body: <[{others}]>\n" if others else ""
    beginning = "body* " if others else ""
    listed = ",".join(map(str, ids))
    return f'%llguidance {{}}\nstart: {beginning}(stop "\\u0001")?\n{body}stop: <[{listed}]>'


def _between(ids: Sequence[int], vocabulary: int) -> Iterator[tuple[int, int]]:
    for before, after in pairwise([-1, *ids, vocabulary]):
        if after - before > 1:
            yield before + 1, after - 1
