"""Ollama's API about models: what there is, pulling from a stand-in for the hub, creating, copying and deleting."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.adapter_files import NANO, write_gguf_adapter
from tests.support.gguf_files import write_embedding_model, write_model
from tests.support.hub import HubServer, Repository, serve_hub
from tests.support.ollama import (
    QUESTION,
    Json,
    Start,
    blobs,
    chat,
    create,
    delete,
    digest_of,
    done,
    lines,
    names,
    post,
    show,
    start,
    upload,
    uploaded,
    weather,
)
from tests.support.serving import HostPool, ServedHost

REPOSITORY, LIBRARY_REPOSITORY = "org/nano-GGUF", "bartowski/Llama-3.2-1B-Instruct-GGUF"
PULLED = f"hf.co/{REPOSITORY}:Q8_0"
NOTES = "x-modelhost-notes"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub with two models, and a cache of the test's own."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    content = NANO.read_bytes()
    with serve_hub() as server:
        server.repositories[REPOSITORY] = Repository(files={"nano-Q8_0.gguf": content})
        server.repositories[LIBRARY_REPOSITORY] = Repository(files={"Llama-3.2-1B-Instruct-Q4_K_M.gguf": content})
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server


@pytest.fixture
def host(start_host: Start, tmp_path: Path) -> ServedHost:
    return start(start_host, tmp_path)


# What there is.


def test_the_version_is_one_that_clients_accept(nano_host: ServedHost) -> None:
    version = nano_host.http.get("/api/version").json()
    assert [int(part) for part in version["version"].split(".")] >= [0, 6, 4]
    assert version["modelhost_version"] == nano_host.http.get("/version").json()["version"]


def test_the_list_has_each_model_with_a_tag_a_size_and_a_stable_digest(nano_host: ServedHost) -> None:
    (model,) = nano_host.http.get("/api/tags").json()["models"]
    assert model["name"] == model["model"] == "modelhost-nano:latest"
    assert model["size"] == NANO.stat().st_size
    assert len(model["digest"]) == 64
    assert model["digest"] == nano_host.http.get("/api/tags").json()["models"][0]["digest"]
    assert datetime.fromisoformat(model["modified_at"]) < datetime.now(UTC)
    details = model["details"]
    assert (details["format"], details["family"], details["families"]) == ("gguf", "qwen3", ["qwen3"])
    assert (details["parameter_size"], details["quantization_level"]) == ("2.71M", "F16")


def test_loaded_models_tell_their_memory_their_context_and_when_they_are_unloaded(hosts: HostPool) -> None:
    host = hosts.host(idle_unload_secs=1000.0)
    chat(host, "modelhost-nano")
    (model,) = host.http.get("/api/ps").json()["models"]
    assert model["model"] == "modelhost-nano:latest"
    assert model["size"] > NANO.stat().st_size
    assert (model["size_vram"], model["context_length"]) == (0, 2048)
    assert datetime.fromisoformat(model["expires_at"]) > datetime.now(UTC)


def test_a_model_in_detail_has_what_clients_need(nano_host: ServedHost) -> None:
    model = show(nano_host, "modelhost-nano:latest")
    info = model["model_info"]
    assert (info["general.architecture"], info["qwen3.context_length"]) == ("qwen3", 2048)
    assert info["general.parameter_count"] > 1_000_000
    assert info["tokenizer.ggml.tokens"] is None
    assert model["capabilities"] == ["completion", "tools"]
    assert "{%" in model["template"]
    assert "\n# FROM modelhost-nano:latest\n\nFROM modelhost-nano:latest\n" in model["modelfile"]


def test_a_model_in_detail_has_its_vocabulary_if_asked(nano_host: ServedHost) -> None:
    info = show(nano_host, "modelhost-nano", verbose=True)["model_info"]
    assert len(info["tokenizer.ggml.tokens"]) == len(info["tokenizer.ggml.token_type"]) > 100


def test_a_model_without_gguf_has_info_and_capabilities_too(scripted_host: ServedHost) -> None:
    model = show(scripted_host, "scripted")
    assert model["model_info"]["general.architecture"] == "scripted"
    assert "completion" in model["capabilities"]


def test_a_loaded_model_that_fills_in_says_so(start_host: Start, tmp_path: Path) -> None:
    host = start(start_host, tmp_path, model=str(write_model(tmp_path / "gap.gguf", fim_token_id=3)))
    assert "insert" in show(host, "gap")["capabilities"]


def test_an_embedding_model_says_so(start_host: Start, tmp_path: Path) -> None:
    host = start(start_host, tmp_path, model=str(write_embedding_model(tmp_path / "embed.gguf")))
    assert show(host, "embed")["capabilities"] == ["embedding"]


@pytest.mark.parametrize(
    "name", ["modelhost-nano", "modelhost-nano:latest", "modelhost-nano:f16", "modelhost-nano:F16"]
)
def test_a_model_has_its_name_with_the_tag_latest_or_its_quantization(nano_host: ServedHost, name: str) -> None:
    assert show(nano_host, name)["details"]["family"] == "qwen3"
    assert chat(nano_host, name)["message"]["content"]


@pytest.mark.parametrize(
    ("name", "way_out"),
    [
        ("modelhost-nano:q4_0", "hf.co/org/name"),
        ("nobody", "hf.co/org/name:Q4_K_M"),
        ("llama3.2", "bartowski/Llama-3.2-3B-Instruct-GGUF"),
        ("llama3.2:7b", "1b, 3b"),
        ("hf.co/org/else:Q4_0", "org/else:Q4_0"),
    ],
)
def test_a_model_that_is_not_here_is_not_downloaded_but_refused_with_the_way_out(
    nano_host: ServedHost, name: str, way_out: str
) -> None:
    for path, body in (("show", {}), ("chat", {"messages": QUESTION}), ("generate", {"prompt": "a"})):
        answer = post(nano_host, path, model=name, **body)
        assert answer.status_code == 404
        assert answer.json()["code"] == "model_not_found"
        assert name in answer.json()["error"]
        assert way_out in answer.json()["error"]


def test_a_model_with_an_adapter_keeps_its_name(start_host: Start, tmp_path: Path) -> None:
    adapter = write_gguf_adapter(tmp_path / "a.gguf", 1)
    host = start(start_host, tmp_path, alias=["nano"], lora=[f"pirate={adapter}"])
    assert names(host) == ["nano:latest", "nano:pirate"]
    assert weather(host, "nano:pirate") != weather(host, "nano")
    tagged = host.client().chat.completions.create(model="nano:latest", messages=QUESTION, max_tokens=1)  # type: ignore[arg-type]
    assert tagged.model == "nano"


# Pulling.


def test_a_model_is_pulled_step_by_step_and_is_there_after_a_restart(
    hub: HubServer, start_host: Start, tmp_path: Path
) -> None:
    host = start(start_host, tmp_path)
    steps = lines(post(host, "pull", model=PULLED))
    digest = digest_of(NANO.read_bytes())
    assert steps[0] == {"status": "pulling manifest"}
    pulling = [step for step in steps if step.get("digest") == digest]
    assert {step["status"] for step in pulling} == {f"pulling {digest[7:19]}"}
    assert pulling[-1]["completed"] == pulling[-1]["total"] == NANO.stat().st_size
    assert steps[-2:] == [{"status": "writing manifest"}, {"status": "success"}]
    assert names(host) == ["modelhost-nano:latest", PULLED]
    host.process.kill()
    again = start(start_host, tmp_path)
    assert names(again) == ["modelhost-nano:latest", PULLED]
    assert chat(again, PULLED.lower())["message"]["content"]


def test_a_well_known_name_is_pulled_from_its_repository(hub: HubServer, host: ServedHost) -> None:
    assert done(post(host, "pull", model="llama3.2:1b", stream=False)) == {"status": "success"}
    assert names(host) == ["modelhost-nano:latest", "llama3.2:1b"]
    assert show(host, f"hf.co/{LIBRARY_REPOSITORY}")["details"] == show(host, "llama3.2:1b")["details"]


def test_a_pull_of_a_model_that_is_here_succeeds(host: ServedHost) -> None:
    assert lines(post(host, "pull", model="modelhost-nano")) == [{"status": "success"}]


def test_a_pull_that_fails_says_why(hub: HubServer, host: ServedHost) -> None:
    assert post(host, "pull", model="nobody").status_code == 404
    refused = post(host, "pull", model="hf.co/org/missing", stream=False)
    assert (refused.status_code, refused.json()["code"]) == (502, "download_failed")
    (_, error) = lines(post(host, "pull", model="hf.co/org/missing"))
    assert error["code"] == "download_failed"
    assert names(host) == ["modelhost-nano:latest"]


def test_a_host_of_its_own_models_alone_pulls_and_makes_nothing(start_host: Start, tmp_path: Path) -> None:
    host = start(start_host, tmp_path, allow_models="registry")
    attempts = (
        post(host, "pull", model=PULLED, stream=False),
        post(host, "create", model="mine", stream=False, **{"from": "modelhost-nano"}),
        post(host, "copy", source="modelhost-nano", destination="mine"),
        upload(host, b"GGUF"),
    )
    for refused in attempts:
        assert (refused.status_code, refused.json()["code"]) == (403, "model_not_allowed")
    assert blobs(tmp_path) == []


# Creating.


def test_a_model_of_an_uploaded_file_answers_with_its_system_prompt_and_its_parameters(
    host: ServedHost, tmp_path: Path
) -> None:
    digest = uploaded(host)
    parameters = {"temperature": 0, "num_predict": 3, "num_ctx": 256, "stop": ["zzz"], "mirostat": 1}
    answer = post(
        host,
        "create",
        model="mine",
        files={"nano.gguf": digest},
        system="You are a pirate called Bob.",
        parameters=parameters,
        license="MIT",
        unheard_of=1,
    )
    assert lines(answer)[-1] == {"status": "success"}
    assert answer.headers.get_list(NOTES) == ["ignored=unheard_of", "ignored=parameters.mirostat"]
    plain = chat(host, "modelhost-nano")
    made = done(post(host, "chat", model="mine", messages=QUESTION, stream=False))
    assert made["eval_count"] == 3
    assert made["prompt_eval_count"] > plain["prompt_eval_count"]
    shown = show(host, "mine")
    assert (shown["system"], shown["license"]) == ("You are a pirate called Bob.", "MIT")
    parameters_shown = dict(line.split(maxsplit=1) for line in shown["parameters"].splitlines())
    assert parameters_shown["num_ctx"] == "256"
    assert parameters_shown["num_predict"] == "3"
    assert parameters_shown["stop"] == '"zzz"'
    assert 'SYSTEM """You are a pirate called Bob."""' in shown["modelfile"]
    assert shown["model_info"]["qwen3.context_length"] == 256


def test_a_created_model_names_the_one_that_it_was_created_from(host: ServedHost) -> None:
    create(host, "first", **{"from": "modelhost-nano", "system": "Be brief."})
    create(host, "second", **{"from": "first"})
    post(host, "copy", source="second", destination="third")
    parents = {name: show(host, name)["details"]["parent_model"] for name in ("first", "second", "third")}
    assert parents == {"first": "modelhost-nano:latest", "second": "first:latest", "third": "first:latest"}
    assert "\n# FROM second:latest\n\nFROM first:latest\n" in show(host, "second")["modelfile"]


def test_every_door_begins_with_the_system_prompt_unless_the_request_brings_one(host: ServedHost) -> None:
    create(
        host, "mine", **{"from": "modelhost-nano", "system": "You are a pirate called Bob.", "parameters": {"seed": 1}}
    )

    def prompt_tokens(model: str, *messages: Json) -> int:
        answer = host.client().chat.completions.create(model=model, messages=[*messages, *QUESTION], max_tokens=1)  # type: ignore[list-item]
        assert answer.usage is not None
        return answer.usage.prompt_tokens

    given = {"role": "system", "content": "You are a pirate called Bob."}
    assert prompt_tokens("mine") == prompt_tokens("modelhost-nano", given) > prompt_tokens("modelhost-nano")
    other = {"role": "system", "content": "Hi"}
    assert prompt_tokens("mine", other) == prompt_tokens("modelhost-nano", other)


def test_messages_of_a_model_come_before_those_of_the_request(host: ServedHost) -> None:
    history = [{"role": "user", "content": "My name is Ann."}, {"role": "assistant", "content": "Hello Ann."}]
    create(host, "mine", **{"from": "modelhost-nano", "messages": history})
    given = chat(host, "modelhost-nano", [*history, *QUESTION])
    assert chat(host, "mine")["prompt_eval_count"] == given["prompt_eval_count"]
    assert show(host, "mine")["messages"] == history


def test_an_adapter_changes_the_answers(host: ServedHost, tmp_path: Path) -> None:
    digest = uploaded(host, write_gguf_adapter(tmp_path / "a.gguf", 1))
    create(host, "tuned", **{"from": "modelhost-nano", "adapters": {"a.gguf": digest}})
    assert weather(host, "tuned") != weather(host, "modelhost-nano")
    assert "\nFROM tuned:latest\n" in show(host, "tuned")["modelfile"]


def test_a_template_of_a_known_family_takes_effect(host: ServedHost) -> None:
    template = "<|start_header_id|>user<|end_header_id|>\n\n{{ .Prompt }}<|eot_id|>"
    create(host, "mine", **{"from": "modelhost-nano", "template": template})
    assert chat(host, "mine")["prompt_eval_count"] > chat(host, "modelhost-nano")["prompt_eval_count"]
    assert "<|start_header_id|>" in show(host, "mine")["template"]


def test_a_model_of_the_hub_is_downloaded_to_be_made_of(hub: HubServer, host: ServedHost) -> None:
    create(host, "mine", **{"from": PULLED, "system": "Be brief."})
    assert show(host, "mine")["details"]["parent_model"] == f"{REPOSITORY}:Q8_0"
    assert chat(host, "mine")["message"]["content"]


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"from": "nobody"}, "model_not_found", "hf.co/org/name"),
        ({}, "invalid_request", "one of them"),
        ({"from": "modelhost-nano", "quantize": "q4_0"}, "unsupported_parameter", "does not quantize"),
        ({"from": "modelhost-nano", "template": "{{ .Prompt }}"}, "invalid_request", "Jinja"),
        ({"modelfile": "FROM modelhost-nano"}, "unsupported_parameter", "as fields"),
        ({"files": {"model.bin": "sha256:" + "0" * 64}}, "invalid_request", "no GGUF file"),
        ({"files": {"a.gguf": "sha256:" + "0" * 64}}, "model_file_missing", "upload"),
        ({"files": {"a.gguf": "sha256:0"}}, "invalid_request", "files"),
        ({"from": "modelhost-nano", "parameters": {"temperature": "hot"}}, "invalid_request", "parameters.temperature"),
        ({"from": "modelhost-nano", "parameters": {"num_thread": 9999}}, "invalid_request", "cores"),
        ({"from": "modelhost-nano", "messages": [{"role": "tool"}]}, "invalid_request", "role"),
        ({"from": "modelhost-nano", "template": "{% for m in messages %}"}, "invalid_request", "does not compile"),
    ],
)
def test_what_cannot_be_made_is_refused_with_the_way_out(
    nano_host: ServedHost, fields: Json, code: str, words: str
) -> None:
    answer = post(nano_host, "create", model="mine", stream=False, **fields)
    assert answer.status_code >= 400
    assert answer.json()["code"] == code
    assert words in answer.json()["error"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"from": "nobody"}, "from"),
        ({"from": ""}, "from"),
        ({"model": "m" * 257}, "model"),
        *(({"parameters": {"num_ctx": tokens}}, "parameters.num_ctx") for tokens in (-4, 0, 100_000_000)),
        ({"parameters": {"num_thread": -1}}, "parameters.num_thread"),
        ({"parameters": {"num_gpu": -2}}, "parameters.num_gpu"),
        ({"parameters": {"num_predict": -7}}, "parameters.num_predict"),
        ({"parameters": {"num_predict": "many"}}, "parameters.num_predict"),
        ({"system": "word " * 20_000}, "system"),
        ({"system": "word " * 200, "parameters": {"num_ctx": 16}}, "system"),
        ({"messages": [{"role": "user", "content": "word " * 20_000}]}, "messages"),
        ({"template": "{% if"}, "template"),
        ({"template": "{% include 'other' %}"}, "template"),
        ({"template": "{% block turn %}{{ messages[0].content }}{% endblock %}"}, "template"),
    ],
)
def test_what_no_model_could_be_loaded_with_is_refused_by_its_field(
    nano_host: ServedHost, fields: Json, param: str
) -> None:
    answer = post(nano_host, "create", **{"model": "mine", "from": "modelhost-nano", "stream": False, **fields})
    assert answer.status_code in {400, 404}
    assert answer.json()["param"] == param
    assert "mine:latest" not in names(nano_host)


def test_a_system_prompt_is_measured_against_the_context_of_an_uploaded_file(host: ServedHost) -> None:
    files = {"nano.gguf": uploaded(host)}
    answer = post(host, "create", model="mine", stream=False, files=files, system="word " * 20_000)
    assert (answer.status_code, answer.json()["param"]) == (400, "system")


def test_a_copy_that_cannot_be_made_names_the_field(nano_host: ServedHost) -> None:
    for source, destination, param in (("nobody", "b", "source"), ("modelhost-nano", "b" * 257, "destination")):
        answer = post(nano_host, "copy", source=source, destination=destination)
        assert answer.json()["param"] == param


@pytest.mark.parametrize("name", ["MODELHOST-Nano", "library/modelhost-nano:latest", "Library/MODELHOST-nano:F16"])
def test_names_are_those_of_the_library_in_any_case(nano_host: ServedHost, name: str) -> None:
    assert show(nano_host, name)["details"]["family"] == "qwen3"
    refused = nano_host.http.post("/v1/chat/completions", json={"model": name, "messages": QUESTION})
    assert refused.status_code == 404


def test_an_exact_name_wins(host: ServedHost) -> None:
    for name in ("Twin", "twin"):
        create(host, name, **{"from": "modelhost-nano"}, system=f"I am {name}.")
    assert [show(host, name)["system"] for name in ("Twin", "twin", "TWIN")] == [
        "I am Twin.",
        "I am twin.",
        "I am Twin.",
    ]
    assert delete(host, "Twin").status_code == 200
    assert show(host, "Twin")["system"] == "I am twin."


@pytest.mark.parametrize("name", ["", "modelhost-nano", "a b", "../up", "a\nb"])
def test_a_name_that_is_none_or_is_taken_is_refused(nano_host: ServedHost, name: str) -> None:
    answer = post(nano_host, "create", model=name, stream=False, **{"from": "modelhost-nano"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


@pytest.mark.parametrize("content", [b"\x80\x04 a pickle", b"GGUF", b"PK\x03\x04 a checkpoint", b"\0" * 4096])
def test_a_file_that_is_no_model_makes_none(host: ServedHost, content: bytes) -> None:
    assert upload(host, content).status_code == 201
    answer = post(host, "create", model="mine", stream=False, files={"a.gguf": digest_of(content)})
    assert (answer.status_code, answer.json()["code"]) == (422, "model_file_invalid")
    assert digest_of(content) in answer.json()["error"]
    assert host.settings["data_dir"] not in answer.text
    assert names(host) == ["modelhost-nano:latest"]


# Copying and deleting.


def test_a_copy_is_the_same_model_and_deleting_one_leaves_the_other(host: ServedHost, tmp_path: Path) -> None:
    digest = uploaded(host)
    create(host, "mine", files={"nano.gguf": digest})
    copied = post(host, "copy", source="mine", destination="gpt-4")
    assert (copied.status_code, copied.content) == (200, b"")
    models = {model["name"]: model["digest"] for model in host.http.get("/api/tags").json()["models"]}
    assert models["mine:latest"] == models["gpt-4:latest"]
    assert delete(host, "mine").status_code == 200
    assert names(host) == ["modelhost-nano:latest", "gpt-4:latest"]
    assert blobs(tmp_path) == [digest.replace(":", "-")]
    assert delete(host, "gpt-4:latest").status_code == 200
    assert blobs(tmp_path) == []
    assert post(host, "chat", model="gpt-4", messages=QUESTION).status_code == 404


def test_only_what_clients_have_made_can_be_deleted(hub: HubServer, host: ServedHost) -> None:
    assert delete(host, "modelhost-nano").json()["code"] == "invalid_request"
    assert delete(host, "modelhost-nano:latest").json()["code"] == "invalid_request"
    assert delete(host, "nobody").status_code == 404
    done(post(host, "pull", model=PULLED, stream=False))
    deleted = delete(host, PULLED)
    assert deleted.status_code == 200
    assert deleted.headers[NOTES] == "files-kept-in-hub-cache"
    assert names(host) == ["modelhost-nano:latest"]


def test_a_push_is_refused(nano_host: ServedHost) -> None:
    answer = post(nano_host, "push", model="modelhost-nano")
    assert (answer.status_code, answer.json()["code"]) == (400, "unsupported_operation")


def test_changes_are_in_the_audit_log(host: ServedHost) -> None:
    create(host, "mine", **{"from": "modelhost-nano", "system": "A secret"})
    post(host, "copy", source="mine", destination="other")
    upload(host, b"GGUF")
    delete(host, "mine")
    entries = host.http.get("/v1/audit").json()["entries"]
    assert [entry["operation"] for entry in entries] == ["delete-model", "upload-blob", "copy-model", "create-model"]
    assert "A secret" not in json.dumps(entries)
    assert {entry["outcome"] for entry in entries} == {"ok"}
