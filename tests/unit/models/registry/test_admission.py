"""What clients may add to a host: by its settings, and by the text of what they name alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelhost.config.settings import Settings
from modelhost.config.value_types import AllowedModels
from modelhost.errors import ModelhostError, ModelNotAllowed, ModelNotFound
from modelhost.models.hub.references import HubReference, parse_reference
from modelhost.models.registry.admission import Admission, reference_of
from tests.support.gguf_files import write_model

KNOWN = ("ant", "bee")
EVERYWHERE = "0.0.0.0"  # noqa: S104
PATHS = ("./model.gguf", "/models/model.gguf", "~/model", "model.gguf", "models/model.gguf", "..\\model")


def admission(policy: AllowedModels) -> Admission:
    return Admission(policy=policy, is_default=False)


def refused(policy: AllowedModels, text: str) -> ModelhostError:
    with pytest.raises(ModelhostError) as caught:
        admission(policy).entry(text, Settings(), KNOWN)
    return caught.value


@pytest.mark.parametrize(
    ("settings", "policy"),
    [
        ({}, "hub"),
        ({"host": "localhost"}, "hub"),
        ({"host": "::1"}, "hub"),
        ({"host": "127.8.9.1"}, "hub"),
        ({"host": EVERYWHERE}, "registry"),
        ({"host": "::"}, "registry"),
        ({"host": "192.168.1.2"}, "registry"),
        ({"host": "gpu-box"}, "registry"),
        ({"host": EVERYWHERE, "api_keys": ("secret",)}, "hub"),
        ({"host": EVERYWHERE, "allow_models": "any"}, "any"),
        ({"allow_models": "registry"}, "registry"),
    ],
    ids=str,
)
def test_without_a_word_it_follows_from_who_reaches_the_host(settings: dict[str, Any], policy: str) -> None:
    assert Admission.of(Settings.model_validate(settings)).policy == policy


@pytest.mark.parametrize(
    ("text", "name", "model", "revision"),
    [
        ("org/name", "org/name", "hf://org/name", None),
        ("hf://org/name:Q8_0", "org/name:Q8_0", "hf://org/name:Q8_0", None),
        ("https://huggingface.co/org/name", "org/name", "hf://org/name", None),
        ("https://huggingface.co/org/name/resolve/main/a.gguf", "org/name:a.gguf", "hf://org/name:a.gguf", None),
        ("https://hf.co/org/name/blob/v2/a.gguf", "org/name@v2:a.gguf", "hf://org/name:a.gguf", "v2"),
        ("org/name@v2", "org/name@v2", "hf://org/name", "v2"),
        ("org/name@refs/pr/1:Q8_0", "org/name@refs/pr/1:Q8_0", "hf://org/name:Q8_0", "refs/pr/1"),
    ],
)
def test_a_model_of_the_hub_is_an_entry_called_by_its_id(
    text: str, name: str, model: str, revision: str | None
) -> None:
    settings = Settings(context_length=2048, request_defaults={"temperature": 0.5}, alias=("main",))
    entry = admission("hub").entry(text, settings, KNOWN)
    assert (entry.name, entry.aliases) == (name, ())
    assert (entry.settings.model, entry.settings.revision) == (model, revision)
    assert (entry.settings.context_length, dict(entry.defaults)) == (2048, {"temperature": 0.5})
    assert admission("hub").entry(name, settings, KNOWN) == entry


def test_an_id_of_the_hub_is_one_though_a_directory_is_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "name").mkdir(parents=True)
    write_model(tmp_path / "org" / "name" / "a.gguf")
    assert admission("hub").entry("org/name", Settings(), KNOWN).settings.model == "hf://org/name"
    # What --model would take it for:
    assert admission("any").entry("org/name", Settings(), KNOWN).name == str(tmp_path / "org" / "name")


@pytest.mark.parametrize("text", PATHS)
@pytest.mark.parametrize("policy", ["hub", "registry"])
def test_a_refused_path_is_answered_alike_whether_it_is_there_or_not(
    policy: AllowedModels, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = refused(policy, text)
    for place in ("model.gguf", "models/model.gguf"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        write_model(tmp_path / place)
    after = refused(policy, text)
    assert isinstance(before, ModelNotAllowed)
    assert (type(after), after.message, after.details) == (type(before), before.message, before.details)
    assert "--allow-models any" in after.message
    assert after.details["needed"] == "any"


def test_nothing_is_looked_for_where_paths_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def looked(*_: object, **__: object) -> None:
        raise AssertionError("somebody looks at the files of this machine")

    for name in ("stat", "exists", "is_file", "is_dir", "iterdir", "open"):
        monkeypatch.setattr(Path, name, looked)
    for text in (*PATHS, "org/name", "no-name", "http://there:8000/v1"):
        assert isinstance(refused("registry", text), ModelNotAllowed | ModelNotFound)
    for text in PATHS:
        assert isinstance(refused("hub", text), ModelNotAllowed)


def test_a_path_is_called_by_its_whole_where_any_may_be_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_model(tmp_path / "model.gguf")
    monkeypatch.setenv("SECRET", "of the host")
    for text in ("model.gguf", "./model.gguf", "x/../model.gguf", str(path)):
        entry = admission("any").entry(text, Settings(), KNOWN)
        assert (entry.name, entry.settings.model) == (str(path), str(path))
    with pytest.raises(ModelhostError) as caught:
        admission("any").entry("./${SECRET}.gguf", Settings(), KNOWN)
    assert "of the host" not in caught.value.message


def test_a_model_of_the_hub_that_may_not_be_added_names_the_setting_and_what_there_is() -> None:
    error = refused("registry", "org/name")
    assert error.code == "model_not_allowed"
    assert error.message == (
        '"org/name" is a model of the hub, and not a model of this host, which may not add it (allow_models is '
        "registry). Start the host with --allow-models hub, or add the model to its models.yaml. Available: "
        "ant, bee."
    )
    assert error.details == {"model": "org/name", "allow_models": "registry", "needed": "hub"}
    exposed = Admission.of(Settings(host=EVERYWHERE))
    with pytest.raises(ModelNotAllowed, match="the default of a host that others can reach without a key"):
        exposed.entry("org/name", Settings(), KNOWN)


@pytest.mark.parametrize("policy", ["registry", "hub", "any"])
def test_what_is_neither_is_a_model_that_there_is_not(policy: AllowedModels) -> None:
    error = refused(policy, "gpt-5")
    assert (error.code, error.message) == ("model_not_found", 'There is no model "gpt-5" here. Available: ant, bee.')
    assert refused(policy, "x" * 5000).code == "model_not_found"
    assert refused(policy, "\0").code == "model_not_found"


@pytest.mark.parametrize("policy", ["registry", "hub", "any"])
def test_servers_are_not_added_and_their_secrets_not_repeated(policy: AllowedModels) -> None:
    error = refused(policy, "http://me:secret@there:8000/v1")
    assert error.code == "model_not_allowed"
    assert "secret" not in f"{error.message} {error.details}"


def test_ids_are_the_same_in_every_spelling() -> None:
    reference = HubReference(repository="org/name", wanted="a.gguf")
    for text in ("org/name:a.gguf", "org/name@main:a.gguf", "huggingface.co/org/name/resolve/main/a.gguf"):
        assert reference_of(text) == reference
    assert reference_of("org/name:a.gguf", "main") == reference
    assert reference_of("org/name@v1") == reference_of("org/name", "v1") != reference_of("org/name")
    assert reference_of("models/a.gguf") is reference_of("./org") is reference_of(None) is reference_of("ant") is None
    assert parse_reference("org/name@:x") is None
