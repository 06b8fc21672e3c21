"""Calls as Gemma writes them: ``call:get_weather{city:<escape>Paris<escape>,days:3}`` between two markers.

https://ai.google.dev/gemma/docs/functiongemma/formatting-and-best-practices
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from modelhost.engines.tool_calls.calls import CallForm, CallParser, ToolCallFormat, WholeCallParser
from modelhost.engines.tool_calls.grammar import Literals, arguments_of, choice, json_value, types_of
from modelhost.engines.tool_calls.python import in_commas

_CALL: Final = re.compile(r"\s*call:([\w.-]+)\s*(\{.*\})\s*", re.DOTALL)
_KEY: Final = re.compile(r"([{,]\s*)([\w.-]+)\s*:")


@dataclass(frozen=True, kw_only=True)
class GemmaForm(CallForm):
    """Calls of Gemma. ``quote`` encloses strings."""

    quote: str

    @property
    def markers(self) -> frozenset[str]:
        return super().markers | {self.quote}

    def parser(self, calling: ToolCallFormat, opening: str, index: int) -> CallParser:
        return WholeCallParser(calling, opening, index, self)

    def end_of(self, text: str, opening: str) -> tuple[int, int] | None:
        end = text.find(self.closing)
        return None if end < 0 else (end, end + len(self.closing))

    def read(self, text: str) -> list[tuple[str, Mapping[str, Any]]] | None:
        found = _CALL.fullmatch(text)
        if found is None:
            return None
        # Every second part is a text, everything else JSON whose keys have no quotes.
        parts = found[2].split(self.quote)
        written = [json.dumps(part) if number % 2 else _KEY.sub(r'\1"\2":', part) for number, part in enumerate(parts)]
        try:
            arguments = json.loads("".join(written), strict=False)
        except (ValueError, RecursionError):
            return None
        return [(found[1], arguments)]

    def grammar(self, tools: Sequence[Mapping[str, Any]], vocabulary: Mapping[str, int]) -> str:
        literals = Literals(self.markers, vocabulary)

        def rules_of(name: str, function: Mapping[str, Any]) -> list[str]:
            arguments, required = arguments_of(function)
            uses, rules = [], []
            for number, (key, schema) in enumerate(arguments):
                use, rule = self._value(literals, f"{name}_{number}", schema)
                uses.append((f"{literals.of(f'{key}:')} {use}", key))
                rules.append(rule)
            inside = in_commas(
                [use for use, key in uses if key in required],
                [use for use, key in uses if key not in required],
                comma='","',
            )
            head = literals.of(f"{self.opening}call:{function['name']}{{")
            return [f"{name}: {head} {inside} {literals.of('}' + self.closing)}", *rules]

        return choice(tools, rules_of)

    def _value(self, literals: Literals, name: str, schema: Mapping[str, Any]) -> tuple[str, str]:
        if types_of(schema) != {"string"}:
            return name, f"{name}: {json_value(schema)}"
        values = schema.get("enum", [schema["const"]] if "const" in schema else None)
        if values is not None:
            texts = [literals.of(f"{self.quote}{each}{self.quote}") for each in values]
            return name, f"{name}: {' | '.join(texts)}"
        use, rule = literals.text_until(self.quote, name, schema)
        return f"{literals.of(self.quote)} {use}", rule
