"""LoRA adapters that requests choose: what llama.cpp is started with, and what becomes of them at servers elsewhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelhost.chat.adapters import with_adapters
from modelhost.chat.parsing.parse import parsed
from modelhost.config.settings import Settings
from modelhost.engines.adapters import Adapter, split_name
from modelhost.engines.launch import ModelSpec
from modelhost.engines.llamacpp.engine import LlamaCpp
from modelhost.engines.llamacpp.slots import Slot
from modelhost.errors import ConfigError, InvalidRequest, UnsupportedParameter
from modelhost.exchange.requests import ChatRequest
from modelhost.models.registry.entry import ModelEntry
from modelhost.models.residency.hosted import HostedModel

ALWAYS, PIRATE = Adapter(path=Path("/a.gguf"), scale=0.5), Adapter(path=Path("/p.gguf"), scale=0.5, name="pirate")
SPEC = ModelSpec(name="m", path=Path("/m.gguf"))


def _config(*lora: Adapter, **options: Any) -> dict[str, Any]:
    return dict(LlamaCpp().launch(replace(SPEC, lora=lora, options=options), "key").config)


def _request(**fields: Any) -> ChatRequest:
    request = parsed("chat", {"messages": [{"role": "user", "content": "Hello!"}], **fields})
    assert isinstance(request, ChatRequest)
    return request


def _model(**settings: Any) -> HostedModel:
    return HostedModel(ModelEntry(name="m", aliases=("other",), settings=Settings(**settings)))


def _body(hosted: HostedModel, **fields: Any) -> dict[str, Any]:
    return with_adapters(hosted, "chat", _request(**fields), {"model": "m"})


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("a.gguf", (None, "a.gguf")),
        ("pirate=a.gguf:0.5", ("pirate", "a.gguf:0.5")),
        ("x-1.5_b=dir/a=b.gguf", ("x-1.5_b", "dir/a=b.gguf")),
        ("./a=b.gguf", (None, "./a=b.gguf")),
        ("/a/b=c.gguf", (None, "/a/b=c.gguf")),
        ("~/b=c.gguf", (None, "~/b=c.gguf")),
        ("a:b=c.gguf", (None, "a:b=c.gguf")),
    ],
)
def test_a_name_stands_before_an_equals_sign(text: str, split: tuple[str | None, str]) -> None:
    assert split_name(text) == split


def test_llamacpp_loads_what_requests_choose_without_applying_it() -> None:
    assert _config(ALWAYS, PIRATE)["lora"] == [["/a.gguf", 0.5], ["/p.gguf", 0.0]]


def test_llamacpp_has_no_memory_for_finished_conversations_beside_adapters_to_choose_from() -> None:
    assert _config(ALWAYS)["cache_ram_mib"] == 512
    assert _config(ALWAYS, cache_ram_mib=100)["cache_ram_mib"] == 100
    assert _config(ALWAYS, PIRATE)["cache_ram_mib"] == 0
    assert _config(PIRATE, cache_ram_mib=512)["cache_ram_mib"] == 0  # as it is in an example with all settings
    with pytest.raises(ConfigError, match=r'"cache_ram_mib": .* does not tell adapters apart'):
        _config(PIRATE, cache_ram_mib=100)


def test_llamacpp_makes_no_embeddings_of_what_adapters_leave_behind() -> None:
    assert _config(ALWAYS, pooling="last")["pooling"] == "last"
    with pytest.raises(ConfigError, match='"pooling": with last'):
        _config(PIRATE, pooling="last")


def test_a_slot_tells_with_which_scales_it_was_filled() -> None:
    told: dict[str, Any] = {"id": 0, "is_processing": False}
    assert Slot.of({**told, "params": {"lora": [{"id": 1, "scale": 1.0}, {"id": 0, "scale": 0.0}]}}).scales == (
        (0, 0.0),
        (1, 1.0),
    )
    assert Slot.of(told).scales == ()


def test_a_model_whose_files_nobody_has_looked_at_knows_the_names_of_its_adapters() -> None:
    model = _model(lora=("pirate=/no/such.gguf:0.5", "/no/other.gguf"))
    assert _body(model)["lora"] == [{"id": 0, "scale": 0.0}, {"id": 1, "scale": 1.0}]
    assert _body(model, model="other:pirate") == _body(model, lora="pirate") == _body(model, lora={"id": 0})
    assert _body(model, lora="pirate")["model"] == "m:pirate"
    with pytest.raises(InvalidRequest, match=r"no adapter with the id 1 to choose.* pirate \(0\)"):
        _body(model, lora=[{"id": 1}])
    with pytest.raises(InvalidRequest, match="pirate is there twice"):
        _body(model, lora=["pirate", {"id": 0, "scale": 2}])


@pytest.mark.parametrize("engine", ["transformers", "mistralrs"])
def test_an_engine_without_adapters_refuses_the_field(engine: str) -> None:
    model = _model(engine=engine)
    assert _body(model, lora=[]) == {"model": "m"}
    with pytest.raises(UnsupportedParameter, match=f'The field "lora" is not supported by {engine} for chat'):
        _body(model, lora="pirate")


def test_a_server_elsewhere_gets_the_field_if_its_kind_knows_it() -> None:
    def elsewhere(dialect: str) -> HostedModel:
        return _model(engine="remote", model="http://localhost:1/v1", engine_options={"dialect": dialect})

    wanted = ["pirate", {"id": 1, "scale": 0.5}]
    assert _body(elsewhere("modelhost"), lora=wanted)["lora"] == [{"name": "pirate"}, {"id": 1, "scale": 0.5}]
    with pytest.raises(UnsupportedParameter, match='"lora" is not supported by remote'):
        _body(elsewhere("openai"), lora=wanted)


@pytest.mark.parametrize(
    ("lora", "param"),
    [
        (3, "lora"),
        ([3], "lora[0]"),
        ("", "lora"),
        ({}, "lora"),
        ([{"scale": 1}], "lora"),
        ([{"name": "a", "id": 1}], "lora"),
        ({"nam": "a"}, "lora.nam"),
        ([{"name": "a", "scale": "x"}], "lora[0].scale"),
        ([{"id": -1}], "lora[0].id"),
        ([{"id": 2**63}], "lora[0].id"),
        ([{"name": "a", "scale": 1e9}], "lora[0].scale"),
    ],
)
def test_a_field_of_another_shape_is_refused_by_name(lora: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        _request(lora=lora)
    assert refused.value.param == param
