"""Grammars of llguidance are tried before the first answer. What llama.cpp makes of them, the tests with it show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from modelhost.engines.launch import Ready
from modelhost.engines.llamacpp.preparation import REMEMBERED, GrammarProbe, probe_grammar
from modelhost.errors import InvalidRequest

READY = Ready(url="unix:/a", features=("LLGUIDANCE",))
GRAMMAR = '%llguidance {}\nstart: "start" end\nend: start'


class EngineClient:
    """A worker that writes ``content`` for a probe."""

    def __init__(self, content: str = "\u0001a", stop_type: str = "limit", eos: str = "<e>") -> None:
        self.probes: list[Mapping[str, Any]] = []
        self._answer = {"content": content, "stop_type": stop_type}
        self._eos = eos

    async def fetch(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        if path == "/props":
            return {"eos_token": self._eos}
        assert body is not None
        if path == "/tokenize":
            return {"tokens": [7] if body["content"] else []}
        self.probes.append(body)
        return self._answer


def test_the_grammar_stands_between_two_marks() -> None:
    assert probe_grammar(GRAMMAR).splitlines() == [
        "%llguidance {}",
        'start: "\\u0001" grammar_in_question "\\u0001"',
        'grammar_in_question: "start" end',
        "end: grammar_in_question",
    ]


async def test_a_worker_is_asked_about_each_grammar_once() -> None:
    probe, line = GrammarProbe(), EngineClient()
    for _ in range(2):
        await probe.check(line, {"grammar": GRAMMAR}, READY)
    (asked,) = line.probes
    assert asked["logit_bias"] == [[7, 100]]
    await probe.check(line, {"grammar": GRAMMAR}, Ready(url="unix:/b", features=READY.features))
    assert len(line.probes) == 2


async def test_what_is_remembered_is_bounded() -> None:
    probe, line = GrammarProbe(), EngineClient()
    for number in [*range(REMEMBERED + 1), 1, 0]:
        await probe.check(line, {"grammar": f"{GRAMMAR}{number}"}, READY)
    assert len(line.probes) == REMEMBERED + 2


@pytest.mark.parametrize("body", [{"grammar": 'root ::= "a"'}, {"grammar": None}, {"stop_token_ids": [1]}], ids=str)
async def test_other_grammars_are_not_tried(body: dict[str, Any]) -> None:
    line = EngineClient()
    await GrammarProbe().check(line, body, READY)
    await GrammarProbe().check(line, {"grammar": GRAMMAR}, Ready(url=""))
    assert line.probes == []


@pytest.mark.parametrize(
    ("content", "stop_type", "eos"), [("", "eos", "<e>"), ("\u0001", "eos", "<e>"), ("ab", "limit", "")]
)
async def test_a_model_that_is_held_to_nothing_is_told_of(content: str, stop_type: str, eos: str) -> None:
    probe, line = GrammarProbe(), EngineClient(content, stop_type, eos)
    for _ in range(2):
        with pytest.raises(InvalidRequest, match="llguidance") as raised:
            await probe.check(line, {"grammar": GRAMMAR}, READY)
        assert raised.value.param == "grammar"
    assert len(line.probes) == 1
    tool = {"input_grammar": {"name": "code", "opening": "x", "definition": "start: ("}}
    with pytest.raises(InvalidRequest, match='tools: the Lark grammar of "code"'):
        await probe.check(line, tool, READY)


async def test_a_grammar_that_names_an_end_may_end() -> None:
    grammar = '%llguidance {}\nstart: "a"? <|im_end|>'
    await GrammarProbe().check(EngineClient("\u0001", "eos"), {"grammar": grammar}, READY)
    with pytest.raises(InvalidRequest):
        await GrammarProbe().check(EngineClient("", "eos"), {"grammar": grammar}, READY)
