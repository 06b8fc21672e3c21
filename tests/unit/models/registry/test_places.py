"""Where the model of an entry is, and the files beside it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from modelhost.models.resolve.resolve import resolve
from tests.support.gguf_files import write_model
from tests.support.registry_files import entry_of, problem_of, problems_of, registry_of


def test_yaml_and_json_give_the_same_registry(tmp_path: Path) -> None:
    as_yaml = registry_of(tmp_path, "models:\n  - {name: x, hf_id: a/b, aliases: y, pinned: true}\n")
    as_json = registry_of(
        tmp_path, '{"models": [{"name": "x", "hf_id": "a/b", "aliases": ["y"], "pinned": true}]}', name="models.json"
    )
    assert as_yaml.entries == as_json.entries
    assert as_yaml.digest != as_json.digest
    (entry,) = as_yaml.entries
    assert (entry.name, entry.aliases, entry.is_pinned) == ("x", ("y",), True)
    assert entry.settings.alias == ("x", "y")


@pytest.mark.parametrize(
    ("keys", "model"),
    [
        ("hf_id: org/name", "hf://org/name"),
        ("hf_id: org/name:Q8_0", "hf://org/name:Q8_0"),
        ("hf_id: https://huggingface.co/org/name", "hf://org/name"),
        ("hf_id: org/name\n    weight_file: sub/m-Q4_0.gguf", "hf://org/name:sub/m-Q4_0.gguf"),
        ("hf_id: org/name\n    params: {quantization: Q5_K_M}", "hf://org/name:Q5_K_M"),
        ("hf_id: org/name\n    params: {quantization: q8_0}", "hf://org/name:Q8_0"),
        ("hf_id: org/name\n    params: {quantization: q4k}", "hf://org/name:Q4_K_M"),
        ("hf_id: org/name\n    params: {quantization: UD-Q4_K_XL}", "hf://org/name:UD-Q4_K_XL"),
    ],
)
def test_the_quantization_or_the_weight_file_picks_the_file_of_a_repository(
    tmp_path: Path, keys: str, model: str
) -> None:
    assert entry_of(tmp_path, source=keys).settings.model == model


def test_the_address_of_a_file_picks_the_file_and_the_revision(tmp_path: Path) -> None:
    source = "hf_id: https://huggingface.co/org/name/resolve/v1/sub/m-Q4_0.gguf"
    found = entry_of(tmp_path, source=source).settings
    assert (found.model, found.revision) == ("hf://org/name:sub/m-Q4_0.gguf", "v1")
    assert entry_of(tmp_path, source=f"{source}\n    revision: mine").settings.revision == "mine"


def test_a_repository_is_not_taken_for_a_directory_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert entry_of(tmp_path).settings.model == "hf://a/b"


def test_paths_begin_at_the_registry_s_directory_or_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    keys = """
        params:
          draft_model: draft.gguf
          mmproj: eyes.gguf
          lora: [one.gguf, "two.gguf:0.5", ~/three.gguf]
          chat_template: template.jinja
    """
    found = entry_of(tmp_path, keys, source="local_path: sub\n    weight_file: m.gguf").settings
    assert found.model == str(tmp_path / "sub" / "m.gguf")
    assert found.draft_model == str(tmp_path / "draft.gguf")
    assert found.mmproj == str(tmp_path / "eyes.gguf")
    assert entry_of(tmp_path, "params: {mmproj: none}").settings.mmproj == "none"
    assert found.lora == (
        str(tmp_path / "one.gguf"),
        str(tmp_path / "two.gguf:0.5"),
        str(tmp_path / "home" / "three.gguf"),
    )
    assert found.chat_template == str(tmp_path / "template.jinja")
    assert entry_of(tmp_path, source="local_path: ~/m.gguf").settings.model == str(tmp_path / "home" / "m.gguf")


def test_every_path_may_hold_variables_and_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "python").symlink_to(sys.executable)
    monkeypatch.setenv("HOME", str(home))
    (tmp_path / ".env").write_text("MODELS_OF_THE_TEST=models\n")
    keys = """
        weight_file: "${NOT_SET_ANYWHERE:-m}.gguf"
        python: ${HOME}/bin/python
        params:
          draft_model: ${MODELS_OF_THE_TEST}/draft.gguf
          mmproj: "{env:HOME}/eyes.gguf"
          lora: ["${HOME}/one.gguf:0.5", ~/two.gguf]
          chat_template: ~/${env:MODELS_OF_THE_TEST}.jinja
    """
    found = entry_of(tmp_path, keys, source="local_path: ${HOME}/models").settings
    assert found.model == str(home / "models" / "m.gguf")
    assert found.worker_python == str(home / "bin" / "python")
    assert found.draft_model == str(tmp_path / "models" / "draft.gguf")
    assert found.mmproj == str(home / "eyes.gguf")
    assert found.lora == (str(home / "one.gguf:0.5"), str(home / "two.gguf"))
    assert found.chat_template == str(home / "models.jinja")
    beside = entry_of(tmp_path, "weight_file: ~/other.gguf", source="local_path: models").settings
    assert beside.model == str(home / "other.gguf")
    assert entry_of(tmp_path, source="local_path: ~nobody-of-that-name/m.gguf").settings.model == str(
        tmp_path / "~nobody-of-that-name" / "m.gguf"
    )


@pytest.mark.parametrize("key", ["lora", "adapters"])
def test_adapters_may_have_names(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    keys = f"""
        params:
          {key}:
            pirate: pirate.gguf
            legal: {{path: ~/legal.gguf, scale: 1}}
            short: "${{HOME}}/short.gguf:0.5"
    """
    assert entry_of(tmp_path, keys).settings.lora == (
        f"pirate={tmp_path / 'pirate.gguf'}",
        f"legal={tmp_path / 'home' / 'legal.gguf'}:1.0",
        f"short={tmp_path / 'home' / 'short.gguf'}:0.5",
    )
    beside = entry_of(tmp_path, 'params: {lora: [always.gguf, "pirate=./a=b.gguf"]}').settings
    assert beside.lora == (str(tmp_path / "always.gguf"), f"pirate={tmp_path / 'a=b.gguf'}")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("{'a b': x.gguf}", '"params.lora.a b": the name of an adapter has letters, digits'),
        ("{'a:b': x.gguf}", '"params.lora.a:b": the name of an adapter has letters, digits'),
        ("{a: {scale: 1}}", '"params.lora.a": "path" is missing, or no text'),
        ("{a: {path: x.gguf, scale: strong}}", '"params.lora.a": "scale" has to be a number'),
        ("{a: {path: x.gguf, scales: 1}}", '"params.lora.a": unknown key "scales"; there are path and scale'),
        ("{a: [x.gguf]}", '"params.lora.a": expected a file, or its path and scale'),
    ],
)
def test_an_adapter_that_is_none_is_a_problem(value: str, says: str, tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, f"models: [{{name: x, local_path: m.gguf, params: {{lora: {value}}}}}]")
    assert says in problem


@pytest.mark.parametrize("engine", ["mlx", "transformers", "mistralrs", "scripted"])
def test_an_engine_that_has_no_adapters_says_so(engine: str, tmp_path: Path) -> None:
    text = f"models: [{{name: x, hf_id: a/b, engine: {engine}, params: {{adapters: {{a: x.gguf}}}}}}]"
    assert any('"params.lora": ' in problem for problem in problems_of(tmp_path, text))


def test_a_path_with_a_variable_that_is_not_set_is_a_problem_of_its_key(tmp_path: Path) -> None:
    text = """
        models:
          - name: x
            local_path: ${NOT_SET_ANYWHERE}/m.gguf
            params: {lora: [a.gguf, "${NOR_THIS}"], chat_template: "{{ '${THIS_IS_TEXT}' }}"}
    """
    not_set = "is not set, nor is it in .env"
    assert problems_of(tmp_path, text) == [
        f'models.yaml: models[0] "x": "local_path": the environment variable NOT_SET_ANYWHERE {not_set}',
        f'models.yaml: models[0] "x": "params.lora"[1]: the environment variable NOR_THIS {not_set}',
    ]


def test_one_adapter_and_a_template_s_own_text_are_taken_as_they_are(tmp_path: Path) -> None:
    found = entry_of(tmp_path, 'params: {lora: "a.gguf:0.5", chat_template: "{{ messages }}"}').settings
    assert (found.lora, found.chat_template) == ((str(tmp_path / "a.gguf:0.5"),), "{{ messages }}")


def test_a_chat_template_may_be_one_that_comes_with_modelhost(tmp_path: Path) -> None:
    assert entry_of(tmp_path, "params: {chat_template: llama3}").settings.chat_template == "llama3"
    assert entry_of(tmp_path, "params: {chat_template: lama3}").settings.chat_template == str(tmp_path / "lama3")
    (tmp_path / "llama3").write_text("{{ messages }}")
    assert entry_of(tmp_path, "params: {chat_template: llama3}").settings.chat_template == str(tmp_path / "llama3")


def test_an_entry_resolves_to_its_file_under_its_names(tmp_path: Path) -> None:
    write_model(tmp_path / "tiny.gguf", context_length=512)
    entry = entry_of(
        tmp_path, "aliases: [y]\nparams: {max_model_len: 256, max_num_seqs: 2}", source="local_path: tiny.gguf"
    )
    resolved = resolve(entry.settings)
    assert (resolved.spec.name, resolved.spec.aliases) == ("x", ("y",))
    assert (resolved.spec.context_length, resolved.spec.slots) == (256, 2)
    assert resolved.spec.path == tmp_path / "tiny.gguf"


def test_a_scripted_entry_needs_no_file(tmp_path: Path) -> None:
    keys = "params: {engine_options: {text: hello}, max_num_seqs: 3, max_model_len: 100}"
    entry = entry_of(tmp_path, keys, source="engine: scripted")
    spec = resolve(entry.settings).spec
    assert (spec.name, spec.slots, spec.context_length, spec.options) == ("x", 3, 100, {"text": "hello"})


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("notes: none", 'it has no model: give "hf_id", "local_path" or "url"'),
        ("weight_file: a.gguf", '"weight_file" is a file of "hf_id" or of "local_path", and neither is given'),
        ("hf_id: a/b\n    local_path: c", "hf_id and local_path are both given; keep one"),
        ("url: http://there\n    local_path: c", "local_path and url are both given; keep one"),
        ("hf_id: b", '"hf_id": expected org/name, got "b"'),
        ("hf_id: a/b:Q4_0\n    weight_file: c.gguf", '"hf_id" names a file or a quantization already; remove'),
        ("hf_id: a/b\n    weight_file: c d.gguf", '"weight_file": no file is called "c d.gguf"'),
        ("hf_id: a/b\n    weight_file: model.safetensors", '"weight_file": model.safetensors: a model in safetensors'),
        ("local_path: models.yaml\n    weight_file: c.gguf", '"weight_file" is a file in the directory "local_path"'),
        ("local_path: x\n    revision: main", '"revision" is of a model from the hub, and "local_path" is given'),
    ],
)
def test_an_entry_has_exactly_one_source(tmp_path: Path, source: str, problem: str) -> None:
    assert problem_of(tmp_path, "", source=source).startswith(problem)
