"""Addresses of servers in the place of a model's file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelhost.config.settings import Settings
from modelhost.engines.remote.engine import Remote
from modelhost.errors import ConfigError
from modelhost.models.files.memory_pools import MODELS
from modelhost.models.hub.references import is_url, server_urls
from modelhost.models.registry.likely_engine import likely_engine, provisional_engine
from modelhost.models.registry.registry import read_registry
from modelhost.models.residency.planner import EvictionRank, Resident, plan
from modelhost.models.resolve.locate import single_entry
from modelhost.models.resolve.resolve import resolve


def _registry(tmp_path: Path, entry: str) -> Any:
    (tmp_path / "models.yaml").write_text(f"models:\n  - {entry}\n")
    (entry_read,) = read_registry(tmp_path / "models.yaml", Settings(remote_api_key="the host's")).entries
    return entry_read


def _problem(tmp_path: Path, entry: str) -> str:
    with pytest.raises(ConfigError) as caught:
        _registry(tmp_path, entry)
    return caught.value.message


@pytest.mark.parametrize(
    ("model", "is_one"),
    [
        ("http://gpu-box:8000/v1", True),
        ("HTTPS://api.example.com/v1", True),
        ("https://huggingface.co/org/name", False),
        ("https://hf.co/org/name:Q4_K_M", False),
        ("https://huggingface.co/org/name/resolve/main/x.gguf", False),
        ("https://other.example/org/name/resolve/main/x.gguf", True),
        ("org/name", False),
        ("/models/a.gguf", False),
        (None, False),
    ],
)
def test_an_address_is_told_from_a_file_and_from_the_hub(model: str | None, is_one: bool) -> None:
    assert is_url(model) == is_one


def test_several_addresses_have_commas_between_them() -> None:
    assert server_urls("http://a:1/v1/, https://b") == ("http://a:1/v1", "https://b")


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        (None, "needs the URL of a server"),
        ("model.gguf", '"model.gguf" is not the URL of a server'),
        ("ftp://there", '"ftp://there" is not the URL of a server'),
        ("http://user:password@there/v1", "the URL of there holds a name or a password"),
        ("http://there/v1?key=password", "http://there/v1 is followed by more than a path"),
        ("http://there:99999", "not a URL"),
        ("ftp://me:password@there", '"ftp://there" is not the URL'),
    ],
)
def test_what_is_no_address_is_refused_and_no_secret_is_repeated(model: str | None, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        server_urls(model)
    assert problem in caught.value.message
    assert "password" not in caught.value.message.replace("a name or a password", "")


def test_a_model_is_called_as_it_is_called_there_else_by_its_host() -> None:
    url = "http://gpu-box:8000/v1"
    assert single_entry(Settings(model=url)).name == "gpu-box"
    assert single_entry(Settings(model=url, engine_options={"model": "qwen"})).name == "qwen"
    assert single_entry(Settings(model=url, engine_options={"model": "qwen"}, alias=("mine",))).name == "mine"


def test_an_address_is_resolved_without_being_asked() -> None:
    settings = Settings(
        model="http://a:1/v1,http://b:2/v1", remote_api_key="secret", engine_options={"dialect": "llamacpp"}
    )
    resolved = resolve(settings)
    assert (resolved.engine.name, resolved.need_bytes, resolved.charge) == ("remote", {}, {MODELS: 0})
    assert "typical_p" in resolved.engine.fields("chat")
    elsewhere = resolved.engine.launch(resolved.spec, "").remote
    assert elsewhere is not None
    assert (elsewhere.urls, elsewhere.api_key) == (("http://a:1/v1", "http://b:2/v1"), "secret")
    assert "secret" not in repr(resolved) + repr(elsewhere)


def test_an_address_is_not_for_an_engine_that_runs_files() -> None:
    with pytest.raises(ConfigError, match="llamacpp runs files"):
        resolve(Settings(model="http://a:1/v1", engine="llamacpp"))
    with pytest.raises(ConfigError, match="is not the URL of a server"):
        resolve(Settings(model="a.gguf", engine="remote"))


def test_the_dialect_is_known_before_the_server_is_asked() -> None:
    settings = Settings(model="http://a:1/v1", engine_options={"fields": "top_k, min_p"})
    assert likely_engine(settings) == "remote"
    assert {"top_k", "min_p"} <= provisional_engine(settings).fields("chat")
    wrong = Settings(model="http://a:1/v1", engine_options={"nonsense": 1})
    assert isinstance(provisional_engine(wrong), Remote)


def test_an_entry_with_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THERE_KEY", "the-key")
    (tmp_path / ".env").write_text("THERE=there:1\n")
    entry = _registry(tmp_path, "{name: big, url: ['http://${THERE}/v1', 'http://b'], api_key: '${THERE_KEY}'}")
    assert (entry.settings.engine, entry.settings.model) == ("remote", "http://there:1/v1,http://b")
    assert entry.settings.remote_api_key.get_secret_value() == "the-key"


def test_the_key_of_the_host_goes_to_no_server_of_an_entry(tmp_path: Path) -> None:
    assert _registry(tmp_path, "{name: big, base_url: 'http://there'}").settings.remote_api_key is None


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("{name: x, url: 'http://a', api_key: '${NOT_SET_ANYWHERE}'}", '"api_key": '),
        ("{name: x, hf_id: a/b, api_key: secret}", '"api_key" is for the server of a "url", and none is given'),
        ("{name: x, url: 'http://a', engine: llamacpp}", '"engine": llamacpp is not for this model'),
        ("{name: x, hf_id: a/b, engine: remote}", '"engine": remote is not for this model'),
        ("{name: x, url: []}", '"url" is empty'),
        ("{name: x, url: 'http://a', revision: main}", '"revision" is of a model with files'),
        ("{name: x, url: 'http://a', params: {engine_options: {dialect: x}}}", '"dialect" of remote takes openai, '),
        ("{name: x, url: 'http://a', params: {lora: a.gguf}}", '"params.lora": the server of a remote model decides'),
    ],
)
def test_what_is_wrong_with_an_entry_is_told(tmp_path: Path, entry: str, problem: str) -> None:
    message = _problem(tmp_path, entry)
    assert problem in message
    assert "secret" not in message


def test_models_elsewhere_do_not_count_among_those_that_are_loaded() -> None:
    here = Resident(name="here", charge={}, eviction_rank=EvictionRank.IDLE)
    away = Resident(name="away", charge={MODELS: 0}, eviction_rank=EvictionRank.IDLE)
    assert plan({MODELS: 0}, {MODELS: 1}, [here]).fits_now
    assert plan({}, {MODELS: 1}, [away]).fits_now
    assert plan({}, {MODELS: 1}, [away, here]).evict == ("here",)
