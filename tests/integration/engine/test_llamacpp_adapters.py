"""LoRA adapters that each request chooses, with the real engine: nano and two adapters that change what it says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from modelhost import Host
from modelhost.errors import InvalidRequest, ModelNotFound
from tests.support.adapter_files import NANO, write_gguf_adapter
from tests.support.nano_engine import conversation, running
from tests.support.serving import ServedHost

ROUNDING = 0.02  # steps of other sizes are computed a little differently
QUESTIONS = (
    "Hello! Tell me about the weather in Paris.",
    "What is the capital of Germany, please?",
    "Once upon a time, there was a cat.",
)
CHOICES: dict[str, dict[str, Any]] = {
    "base": {},
    "pirate": {"model": "nano:pirate"},
    "legal": {"lora": "legal"},
    "both": {"lora": ["pirate", {"name": "legal", "scale": 0.5}]},
}


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("adapters")
    pirate, legal = write_gguf_adapter(folder / "a.gguf", 1), write_gguf_adapter(folder / "b.gguf", 2)
    return f"pirate={pirate}", f"legal={legal}"


@asynccontextmanager
async def hosting(*lora: str, **settings: Any) -> AsyncIterator[Host]:
    async with Host(alias=("nano", "tiny"), lora=lora, threads=1, **settings) as host:
        yield host


class Said:
    """What a model has written, with how likely each token was; equal up to rounding."""

    def __init__(self, answer: dict[str, Any]) -> None:
        (choice,) = answer["choices"]
        tokens = choice["logprobs"]["content"]
        self.model = answer["model"]
        self.tokens = [token["token"] for token in tokens]
        self.logprobs = [token["logprob"] for token in tokens]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Said) or self.tokens != other.tokens:
            return False
        return all(abs(one - two) < ROUNDING for one, two in zip(self.logprobs, other.logprobs, strict=True))

    def __repr__(self) -> str:
        return f"<{self.model}: {''.join(self.tokens)} {self.logprobs[:3]}>"

    __hash__ = None  # type: ignore[assignment]


async def said(host: Host, question: str = QUESTIONS[0], **parameters: Any) -> Said:
    return Said(await host.chat(question, temperature=0, max_tokens=10, logprobs=True, **parameters))


def are_all_different(*found: Said) -> bool:
    return all(one != other for place, one in enumerate(found) for other in found[:place])


@pytest.fixture(scope="module")
async def alone(adapters: tuple[str, str]) -> dict[tuple[str, str], Said]:
    """What each choice of adapters answers to each question where nothing is kept of any request."""
    async with hosting(*adapters, engine_options={"enable_prefix_caching": False}) as host:
        return {
            (choice, question): await said(host, question, **CHOICES[choice])
            for choice in CHOICES
            for question in QUESTIONS
        }


def test_the_adapters_of_these_tests_change_what_nano_says(alone: dict[tuple[str, str], Said]) -> None:
    for question in QUESTIONS:
        assert are_all_different(*(alone[choice, question] for choice in CHOICES))


@pytest.mark.parametrize("slots", [1, 2])
async def test_what_one_adapter_has_evaluated_is_nothing_to_the_others(
    slots: int, adapters: tuple[str, str], alone: dict[tuple[str, str], Said]
) -> None:
    # A conversation comes back, with another adapter, after others had its slot.
    order = ["base 0", "pirate 1", "pirate 0", "base 2", "legal 2", "pirate 2", "base 0", "both 0", "base 1", "legal 0"]
    async with hosting(*adapters, slots=slots) as host:
        for choice, number in (step.split() for step in (*order, *order)):
            question = QUESTIONS[int(number)]
            assert await said(host, question, **CHOICES[choice]) == alone[choice, question], (choice, number)


async def test_requests_with_different_adapters_are_answered_at_once(
    adapters: tuple[str, str], alone: dict[tuple[str, str], Said]
) -> None:
    async with hosting(*adapters, slots=4) as host:
        asked = [(choice, question) for question in QUESTIONS for choice in CHOICES]
        answers = await asyncio.gather(*(said(host, question, **CHOICES[choice]) for choice, question in asked))
    for asking, answer in zip(asked, answers, strict=True):
        assert answer == alone[asking], asking


async def test_what_was_evaluated_is_reused_with_the_same_adapter(adapters: tuple[str, str]) -> None:
    async with hosting(*adapters) as host:
        for choice in ("pirate", "base"):
            await said(host, **CHOICES[choice])
            again = await host.chat(QUESTIONS[0], temperature=0, max_tokens=10, **CHOICES[choice])
            usage = again["usage"]
            assert usage["prompt_tokens_details"]["cached_tokens"] == usage["prompt_tokens"] - 1


async def test_an_adapter_without_a_name_is_part_of_every_answer(adapters: tuple[str, str]) -> None:
    pirate, legal = adapters
    async with hosting(*adapters) as host:
        expected = [await said(host, lora=names) for names in (["pirate"], ["pirate", "legal"])]
    async with hosting(pirate.partition("=")[2], legal) as host:
        assert [await said(host), await said(host, lora="legal"), await said(host)] == [*expected, expected[0]]
        with pytest.raises(InvalidRequest, match=r"no adapter with the id 0 to choose.* legal \(1\)"):
            await said(host, lora=[{"id": 0}])


async def test_scales_are_those_of_the_setting_unless_the_request_says_others(adapters: tuple[str, str]) -> None:
    pirate, _ = adapters
    async with hosting(pirate) as host:
        whole, half, none = [await said(host, lora={"id": 0, "scale": scale}) for scale in (1, 0.5, 0)]
        assert are_all_different(whole, half, none)
        assert await said(host) == none
    async with hosting(f"{pirate}:0.5") as host:
        assert await said(host, lora="pirate") == half
        assert await said(host, lora={"name": "pirate", "scale": 1}) == whole


async def test_completions_and_several_choices_have_adapters_too(adapters: tuple[str, str]) -> None:
    async with hosting(*adapters) as host:
        body: dict[str, Any] = {"prompt": "Hello! How", "temperature": 0, "max_tokens": 8, "n": 2}
        plain = await host.call("completions", dict(body))
        pirate = await host.call("completions", {**body, "model": "tiny:pirate"})
        first, second = (choice["text"] for choice in pirate["choices"])
        assert first == second != plain["choices"][0]["text"]
        assert pirate["model"] == "nano:pirate"


async def test_a_name_that_is_no_adapter_s_is_refused_with_those_that_are(adapters: tuple[str, str]) -> None:
    async with hosting(*adapters) as host:
        with pytest.raises(ModelNotFound, match=r'no model "tiny:parrot" here: the adapters of nano are legal, pirate'):
            await said(host, model="tiny:parrot")
        with pytest.raises(InvalidRequest, match=r'no adapter "parrot".* pirate \(0\), legal \(1\)') as refused:
            await said(host, lora=["legal", "parrot"])
        assert refused.value.param == "lora"
        with pytest.raises(InvalidRequest, match="names the adapter pirate already"):
            await said(host, model="nano:pirate", lora="legal")
        with pytest.raises(InvalidRequest, match="embeddings are made without adapters"):
            await host.call("embeddings", {"model": "nano:pirate", "input": "a"})
        assert (await host.call("tokenize", {"model": "nano:pirate", "content": "Hello"}))["tokens"]
    async with hosting() as host:
        with pytest.raises(InvalidRequest, match="nano has no adapters that requests can choose"):
            await said(host, lora=["pirate"])
        with pytest.raises(ModelNotFound):
            await said(host, model="nano:pirate")


async def test_only_conversations_without_chosen_adapters_are_saved(adapters: tuple[str, str], tmp_path: Path) -> None:
    with_pirate: dict[str, Any] = {"lora": [{"id": 0, "scale": 1.0}, {"id": 1, "scale": 0.0}]}
    without: dict[str, Any] = {"lora": [{"id": 0, "scale": 0.0}, {"id": 1, "scale": 0.0}]}
    async with running(lora=adapters) as engine:
        ant, bee = conversation("ant"), conversation("bee")
        await engine.talk(ant, "Hello!", "Who are you?", **with_pirate)
        await engine.talk(bee, "Hello!", "Who are you?", **without)
        assert await engine.save(ant, tmp_path / "ant") is None
        saved = await engine.save(bee, tmp_path / "bee")
        assert saved is not None
    async with running(lora=adapters) as engine:
        assert await engine.restore(tmp_path / "bee", saved.fingerprint)
        copy = list(bee)
        assert await engine.talk(copy, "What is 2+3?", **with_pirate) > saved.tokens
    async with running(lora=adapters[:1]) as engine:  # the other one has no part in what was saved
        assert await engine.restore(tmp_path / "bee", saved.fingerprint)
        assert await engine.talk(bee, "What is 2+3?", lora=without["lora"][:1]) < saved.tokens


def test_clients_see_a_model_and_its_adapters_as_models(
    start_host: Callable[..., ServedHost], adapters: tuple[str, str]
) -> None:
    host = start_host(alias=["nano", "tiny"], lora=list(adapters))
    listed = host.http.get("/v1/models").json()["data"]
    assert [(card["id"], card["parent"], card["adapters"]) for card in listed] == [
        ("nano", None, ["pirate", "legal"]),
        ("nano:pirate", "nano", []),
        ("nano:legal", "nano", []),
    ]
    assert host.http.get("/v1/models/tiny:legal").json()["id"] == "nano:legal"
    client = host.client()
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello!"}], "temperature": 0, "max_tokens": 8}
    with client.chat.completions.create(model="tiny:pirate", stream=True, **asked) as stream:
        assert {chunk.model for chunk in stream} == {"nano:pirate"}
    whole = client.chat.completions.create(model="nano", extra_body={"lora": "legal"}, **asked)
    assert whole.model == "nano:legal"
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="nano:parrot", **asked)
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    loaded = host.http.post("/v1/models/load", json={"model_id": "nano:legal", "wait": True}).json()
    assert loaded["model_id"] == "nano"
    refused = host.http.post("/v1/models/select", json={"model_id": "nano:legal"})
    assert refused.status_code == 400
    assert "which each request chooses for itself" in refused.json()["error"]["message"]
    status = host.http.get("/v1/models/status").json()
    assert [model["loads"] for model in status["models"]] == [1]
    metrics = host.http.get("/metrics").text
    assert "nano:" not in metrics
    info = host.http.get("/v1/models/nano/info").json()
    assert info["adapters"] == ["pirate", "legal"]


def test_the_first_request_for_an_adapter_has_its_model_loaded_and_exact_names_win(
    start_host: Callable[..., ServedHost], adapters: tuple[str, str], tmp_path: Path
) -> None:
    pirate, legal = (each.partition("=")[2] for each in adapters)
    registry = tmp_path / "models.yaml"
    registry.write_text(f"""
default_model: other
models:
  - {{name: other, local_path: {NANO}}}
  - name: base
    aliases: [small]
    local_path: {NANO}
    params: {{adapters: {{pirate: {pirate}, legal: {{path: {legal}, scale: 1}}}}}}
  - {{name: "base:legal", local_path: {NANO}}}
""")
    host = start_host(models_config=str(registry))
    client = host.client()
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": QUESTIONS[0]}], "temperature": 0, "max_tokens": 8}

    def said(model: str) -> tuple[str, str | None]:
        answer = client.chat.completions.create(model=model, **asked)
        return answer.model, answer.choices[0].message.content

    with_pirate = said("base:pirate")
    assert with_pirate[0] == "base:pirate"
    assert said("base:legal") == ("base:legal", said("other")[1])
    assert said("small:legal")[1] != said("small")[1] != with_pirate[1] != said("small:legal")[1]
    loads = {model["name"]: model["loads"] for model in host.http.get("/v1/models/status").json()["models"]}
    assert loads == {"other": 1, "base": 1, "base:legal": 1}
