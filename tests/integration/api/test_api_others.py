"""Completions, embeddings, rerank, tokens, models, probes, metrics and the API's own description."""

from __future__ import annotations

import base64
import math
import struct
from pathlib import Path
from typing import Any

import pytest

from modelhost.http.ollama.paths import PATHS as OLLAMA_PATHS
from modelhost.http.ollama.paths import PUSH
from modelhost.operations.table import OPERATIONS
from tests.integration.api.talk import CHAT, HELLO, Talk, as_messages, error_of
from tests.support.gguf_files import write_embedding_model, write_model, write_reranker_model
from tests.support.serving import HostPool, ServedHost

PROMPT = "Once upon a time"
ODD_TEXTS = [
    "hello",
    " ",
    "",
    "\n\t x",
    "h\u00e9llo \u00fc\u00df",
    "\u6f22\u5b57\u4eee\u540d",
    "\U0001f600 \U0001f468\u200d\U0001f469",
    "<|im_start|>",
    "e\u0301",
    "\u202eabc",
]


def test_a_completion_continues_a_text(any_talk: Talk) -> None:
    answer = any_talk.host.client().completions.create(model=any_talk.model, prompt=PROMPT, max_tokens=5)
    (choice,) = answer.choices
    assert answer.object == "text_completion"
    assert choice.text
    assert choice.finish_reason in {"stop", "length"}
    assert answer.usage is not None
    assert 0 < answer.usage.completion_tokens <= 5


@pytest.mark.parametrize("include_usage", [True, False])
def test_a_streamed_completion_is_the_whole_one_and_tells_usage_by_itself_if_asked(
    any_talk: Talk, include_usage: bool
) -> None:
    client = any_talk.host.client()
    asked: dict[str, Any] = {"model": any_talk.model, "prompt": PROMPT, "max_tokens": 5, "temperature": 0}
    whole = client.completions.create(**asked)
    with client.completions.create(**asked, stream=True, stream_options={"include_usage": include_usage}) as stream:
        chunks = list(stream)
    text = "".join(choice.text for chunk in chunks for choice in chunk.choices)
    assert text == whole.choices[0].text
    assert [chunk.usage is not None for chunk in chunks if chunk.choices].count(True) == 0
    told = [chunk.usage for chunk in chunks if not chunk.choices]
    assert len(told) == (1 if include_usage else 0)
    if include_usage:
        assert told[0] is not None
        assert whole.usage is not None
        assert told[0].completion_tokens == whole.usage.completion_tokens


@pytest.mark.parametrize("prompts", [["one", "two two"], [[1, 2], [3]]], ids=str)
def test_several_prompts_and_choices_come_back_in_order(nano: Talk, prompts: Any) -> None:
    client = nano.host.client()
    asked: dict[str, Any] = {"model": nano.model, "max_tokens": 4, "temperature": 0}
    alone = [client.completions.create(prompt=prompt, **asked) for prompt in prompts]
    together = client.completions.create(prompt=prompts, n=2, **asked)
    assert [choice.index for choice in together.choices] == [0, 1, 2, 3]
    assert [choice.text for choice in together.choices] == [each.choices[0].text for each in alone for _ in range(2)]
    assert together.usage is not None
    assert together.usage.prompt_tokens == sum(each.usage.prompt_tokens for each in alone if each.usage)


def test_a_prompt_may_be_tokens(nano: Talk) -> None:
    client = nano.host.client()
    tokens = nano.post("/tokenize", {"content": PROMPT}).json()["tokens"]
    asked: dict[str, Any] = {"model": nano.model, "max_tokens": 4, "temperature": 0}
    by_tokens = client.completions.create(prompt=tokens, **asked)
    assert by_tokens.choices[0].text == client.completions.create(prompt=PROMPT, **asked).choices[0].text


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs_of_a_completion_have_their_old_shape(any_talk: Talk, stream: bool) -> None:
    client = any_talk.host.client()
    asked: dict[str, Any] = {"model": any_talk.model, "prompt": PROMPT, "max_tokens": 3, "logprobs": 2}
    if stream:
        with client.completions.create(**asked, stream=True) as events:
            choices = [choice for chunk in events for choice in chunk.choices]
    else:
        choices = list(client.completions.create(**asked).choices)
    told = [choice.logprobs for choice in choices if choice.logprobs]
    tokens = [token for each in told for token in each.tokens or []]
    assert "".join(tokens) == "".join(choice.text for choice in choices)
    assert len([value for each in told for value in each.token_logprobs or []]) == len(tokens)
    offsets = [offset for each in told for offset in each.text_offset or []]
    assert offsets == [len("".join(tokens[:index])) for index in range(len(tokens))]
    if any_talk.model != "scripted":
        assert all(len(top) == 2 for each in told for top in each.top_logprobs or [])


@pytest.mark.parametrize("max_tokens", [0, 3])
def test_an_answer_may_begin_with_its_prompt(any_talk: Talk, max_tokens: int) -> None:
    asked: dict[str, Any] = {"model": any_talk.model, "temperature": 0, "max_tokens": max_tokens}
    answer = any_talk.host.client().completions.create(prompt=[PROMPT, "b"], n=2, echo=True, **asked)
    begun = [PROMPT, PROMPT, "b", "b"]
    assert [choice.text.startswith(prompt) for choice, prompt in zip(answer.choices, begun, strict=True)] == [True] * 4
    if max_tokens == 0:
        assert [choice.text for choice in answer.choices] == begun


def test_an_engine_that_cannot_tell_how_likely_a_prompt_is_says_so(scripted: Talk) -> None:
    refused = error_of(scripted.post("/v1/completions", {"prompt": "a", "echo": True, "logprobs": 1}))
    assert (refused["code"], refused["param"]) == ("unsupported_parameter", "logprobs")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"prompt": None},
        {"prompt": []},
        {"prompt": 5},
        {"prompt": [1, "a"]},
        {"prompt": [[]]},
        {"prompt": "a", "logprobs": True},
        {"prompt": "a", "echo": 1},
        {"prompt": "a", "max_tokens": 0},
        {"prompt": "a", "max_tokens": -1},
        {"prompt": "a", "best_of": 4},
        {"prompt": "a", "suffix": 5},
    ],
    ids=str,
)
def test_a_bad_completion_request_is_refused(any_talk: Talk, body: Any) -> None:
    response = any_talk.post("/v1/completions", body)
    assert response.status_code == 400
    assert error_of(response)["param"].split("[")[0] in {"prompt", *body}


def test_a_prompt_of_unknown_tokens_is_the_callers_fault(nano: Talk) -> None:
    for path, body in (
        ("/v1/completions", {"prompt": [10**6]}),
        ("/v1/embeddings", {"input": [10**6]}),
        ("/detokenize", {"tokens": [10**6]}),
    ):
        assert error_of(nano.post(path, body))["code"] == "invalid_request"


def test_embeddings_are_unit_vectors_in_the_order_of_the_inputs(any_talk: Talk) -> None:
    client = any_talk.host.client()
    texts = ["red", "blue", "red"]
    many = client.embeddings.create(model=any_talk.model, input=texts, encoding_format="float")
    assert [each.index for each in many.data] == [0, 1, 2]
    for text, each in zip(texts, many.data, strict=True):
        (alone,) = client.embeddings.create(model=any_talk.model, input=text, encoding_format="float").data
        assert math.isclose(math.hypot(*each.embedding), 1.0, rel_tol=1e-3)
        assert alone.embedding == pytest.approx(each.embedding, abs=2e-2)
    assert many.usage.prompt_tokens > 0


def test_an_embedding_does_not_depend_on_its_neighbours(nano: Talk) -> None:
    client = nano.host.client()
    texts = ["red", "a longer text about green", "short one"]
    many = client.embeddings.create(model=nano.model, input=texts, encoding_format="float")
    for text, each in zip(texts, many.data, strict=True):
        (alone,) = client.embeddings.create(model=nano.model, input=text, encoding_format="float").data
        assert sum(a * b for a, b in zip(alone.embedding, each.embedding, strict=True)) > 0.999


def test_embeddings_as_base64_are_the_same_numbers(any_talk: Talk) -> None:
    asked = {"input": "red", "encoding_format": "base64"}
    packed = any_talk.post("/v1/embeddings", asked).json()["data"][0]["embedding"]
    plain = any_talk.post("/v1/embeddings", {**asked, "encoding_format": "float"}).json()["data"][0]["embedding"]
    raw = base64.b64decode(packed)
    assert list(struct.unpack(f"<{len(raw) // 4}f", raw)) == pytest.approx(plain, abs=1e-2)
    # What the openai client does unless told otherwise.
    (default,) = any_talk.host.client().embeddings.create(model=any_talk.model, input="red").data
    assert default.embedding == pytest.approx(plain, abs=1e-2)


@pytest.mark.parametrize("given", [[1, 2, 3], [[1, 2], [3]]], ids=str)
def test_embeddings_of_tokens(nano: Talk, given: Any) -> None:
    data = nano.host.client().embeddings.create(model=nano.model, input=given).data
    assert len(data) == (2 if isinstance(given[0], list) else 1)


@pytest.mark.parametrize(
    "body",
    [{}, {"input": None}, {"input": []}, {"input": 5}, {"input": "a", "encoding_format": "hex"}, {"input": ["a", 1]}],
    ids=str,
)
def test_a_bad_embeddings_request_is_refused(any_talk: Talk, body: Any) -> None:
    response = any_talk.post("/v1/embeddings", body)
    assert (response.status_code, error_of(response)["code"]) == (400, "invalid_request")


def test_dimensions_that_cannot_be_chosen_are_refused(any_talk: Talk) -> None:
    error = error_of(any_talk.post("/v1/embeddings", {"input": "a", "dimensions": 8}))
    assert (error["code"], error["param"]) == ("unsupported_parameter", "dimensions")


def test_a_model_that_generates_does_not_rank(nano: Talk) -> None:
    response = nano.post("/v1/rerank", {"query": "a", "documents": ["b"]})
    error = error_of(response)
    assert (response.status_code, error["code"]) == (400, "unsupported_operation")
    assert "chat" in error["message"]


def test_ranking_orders_documents_and_keeps_the_best(scripted: Talk) -> None:
    asked = {"query": "red apple", "documents": ["a pear", "a red apple", "red"], "top_n": 2}
    results = scripted.post("/v1/rerank", asked).json()["results"]
    assert [each["index"] for each in results] == [1, 2]
    assert results[0]["relevance_score"] >= results[1]["relevance_score"]
    for bad in ({}, {"query": "a"}, {"query": "a", "documents": []}, {**asked, "top_n": 0}):
        assert error_of(scripted.post("/v1/rerank", bad))["code"] == "invalid_request"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def test_a_reranker_ranks_and_does_nothing_else(hosts: HostPool, files: Path) -> None:
    talk = Talk(hosts.host(model=str(write_reranker_model(files / "ranker.gguf"))))
    answer = talk.post("/v1/rerank", {"query": "a", "documents": ["b", "c", "dd"]})
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    assert sorted(each["index"] for each in results) == [0, 1, 2]
    scores = [each["relevance_score"] for each in results]
    assert scores == sorted(scores, reverse=True)
    assert all(math.isfinite(score) for score in scores)
    for path, body in ((CHAT, {"messages": as_messages(HELLO)}), ("/v1/embeddings", {"input": "a"})):
        assert error_of(talk.post(path, body))["code"] == "unsupported_operation"


def test_an_embedding_model_embeds(hosts: HostPool, files: Path) -> None:
    talk = Talk(hosts.host(model=str(write_embedding_model(files / "embedder.gguf"))))
    answer = talk.post("/v1/embeddings", {"input": ["a", "b"]})
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["data"]) == 2


def test_a_model_answers_under_all_of_its_names(hosts: HostPool, files: Path) -> None:
    host = hosts.host(model=str(write_model(files / "noise.gguf")), alias=["team/noise:v1", "noise", "the/other/name"])
    client = host.client()
    (card,) = client.models.list().data
    assert card.id == "team/noise:v1"
    for name in ("team/noise:v1", "noise", "the/other/name"):
        assert client.models.retrieve(name).id == "team/noise:v1"
        answer = client.chat.completions.create(model=name, messages=as_messages("x"), max_tokens=2)
        assert answer.model == "team/noise:v1"
    missing = host.http.get("/v1/models/team/nothing")
    assert (missing.status_code, error_of(missing)["code"]) == (404, "model_not_found")


def test_a_model_says_what_it_can_do(any_talk: Talk) -> None:
    card = any_talk.host.http.get("/v1/models").json()["data"][0]
    assert {"chat", "completions", "embeddings", "tokenize", "detokenize"} <= set(card["operations"])
    assert card["object"] == "model"
    assert card["state"] == "ready"
    assert card["created"] > 0
    assert card["context_length"] == card["max_model_len"] > 0
    assert card["slots"] > 0
    assert any_talk.host.http.get(f"/v1/models/{card['id']}").json() == card


@pytest.mark.parametrize("text", ODD_TEXTS, ids=repr)
@pytest.mark.parametrize("field", ["content", "prompt"])
def test_tokens_go_back_and_forth_in_both_dialects(any_talk: Talk, field: str, text: str) -> None:
    tokens = any_talk.post("/tokenize", {field: text}).json()
    assert tokens["count"] == len(tokens["tokens"])
    assert tokens["max_model_len"] > 0
    back = any_talk.post("/detokenize", {"tokens": tokens["tokens"]}).json()
    assert back["content"] == back["prompt"] == text


def test_tokens_can_come_with_their_text(nano: Talk) -> None:
    tokens = nano.post("/tokenize", {"content": "hello you", "with_pieces": True}).json()["tokens"]
    assert "".join(token["piece"] for token in tokens) == "hello you"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tokenize", {}),
        ("/tokenize", {"content": "a", "prompt": "b"}),
        ("/tokenize", {"content": 5}),
        ("/detokenize", {}),
        ("/detokenize", {"tokens": "abc"}),
        ("/detokenize", {"tokens": [-1]}),
        ("/detokenize", {"tokens": [10**6]}),
    ],
    ids=str,
)
def test_bad_token_requests_are_refused(any_talk: Talk, path: str, body: Any) -> None:
    response = any_talk.post(path, body)
    assert (response.status_code, error_of(response)["code"]) == (400, "invalid_request")


@pytest.mark.promise("vllm-crush.health.endpoint")
def test_the_probes_say_that_all_is_well(any_host: ServedHost) -> None:
    assert any_host.http.get("/health").json() == {"status": "ok"}
    ready = any_host.http.get("/ready")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    assert set(ready.json()["models"].values()) == {"ready"}
    assert any_host.http.get("/version").json()["name"] == "modelhost"


@pytest.mark.promise("vllm-crush.export.prometheus")
def test_the_metrics_move_with_what_is_done(any_talk: Talk) -> None:
    host = any_talk.host
    (model,) = host.http.get("/ready").json()["models"]
    names = {
        "modelhost_requests_total": {"model": model, "operation": "chat", "status": "200"},
        "modelhost_tokens_in_total": {"model": model},
        "modelhost_tokens_out_total": {"model": model},
        "modelhost_time_to_first_token_seconds_count": {"model": model},
        "modelhost_time_between_tokens_seconds_count": {"model": model},
        "modelhost_request_seconds_count": {"model": model, "operation": "chat"},
        "modelhost_errors_total": {"model": model, "code": "invalid_request"},
    }
    before = {name: host.metric(name, **labels) for name, labels in names.items()}
    usages = [any_talk.chat(n=n).usage for n in (1, 2)]
    any_talk.chunks()
    any_talk.post_chat(temperature=-1)
    last, labels = "modelhost_errors_total", names["modelhost_errors_total"]
    host.wait_for_metric(last, before[last] + 1, **labels)
    last, labels = "modelhost_requests_total", names["modelhost_requests_total"]
    host.wait_for_metric(last, before[last] + 3, **labels)
    moved = {name: host.metric(name, **labels) - before[name] for name, labels in names.items()}
    assert moved["modelhost_requests_total"] == 3
    assert moved["modelhost_request_seconds_count"] == 4
    assert moved["modelhost_time_to_first_token_seconds_count"] == 3
    assert moved["modelhost_time_between_tokens_seconds_count"] >= 1
    assert moved["modelhost_errors_total"] == 1
    assert moved["modelhost_tokens_in_total"] > sum(usage.prompt_tokens for usage in usages if usage)
    assert moved["modelhost_tokens_out_total"] > sum(usage.completion_tokens for usage in usages if usage)
    assert host.metric("modelhost_model_ready", model=model) == 1
    assert host.metric("modelhost_slots", model=model) > 0


def test_requests_at_work_are_counted_while_they_are(scripted: Talk) -> None:
    scripted.host.wait_for_metric("modelhost_requests_in_flight", 0)
    before = 0
    with scripted.host.client().chat.completions.create(
        model="scripted", messages=as_messages("/hang 1"), stream=True
    ) as stream:
        next(iter(stream))
        assert scripted.host.metric("modelhost_requests_in_flight") == before + 1
    scripted.host.wait_for_metric("modelhost_requests_in_flight", before)


def test_names_that_callers_invent_do_not_become_labels(scripted: Talk) -> None:
    before = scripted.host.metric("modelhost_errors_total", model="", code="model_not_found")
    for name in ("invented-one", "invented-two"):
        scripted.post_chat(model=name)
    scripted.host.wait_for_metric("modelhost_errors_total", before + 2, model="", code="model_not_found")
    assert "invented" not in scripted.host.http.get("/metrics").text


def test_the_documentation_page_is_served(any_host: ServedHost) -> None:
    page = any_host.http.get("/docs")
    assert page.status_code == 200
    assert "text/html" in page.headers["content-type"]


def test_the_description_is_valid_and_true_to_what_is_served(any_host: ServedHost) -> None:
    validator = pytest.importorskip("openapi_spec_validator")
    document = any_host.http.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    validator.validate(document)
    described = {path for path in document["paths"] if "{" not in path}
    for path in described:
        method = next(name for name in ("get", "post", "delete") if name in document["paths"][path])
        with any_host.http.stream(method.upper(), path) as answer:  # the events of the models have no end
            assert answer.status_code != 405
            # What was asked for need not be there; the path has to be.
            assert answer.status_code != 404 or '"not_found"' not in answer.read().decode()
    asked = {CHAT, "/v1/completions", "/v1/embeddings", "/v1/rerank", "/tokenize", "/detokenize"}
    asked |= {"/infill", "/rerank", "/", "/v1/messages", "/v1/messages/count_tokens"}
    asked |= {"/v1/responses", "/v1/responses/input_tokens", "/v1/responses/compact", "/v1/conversations"}
    asked |= {"/v1/audio/speech", "/v1/audio/transcriptions", "/v1/audio/translations", "/v1/audio/voices"}
    asked |= {"/v1/audio/models"}
    asked |= {"/v1/images/generations", "/v1/images/edits", "/v1/images/variations"}
    asked |= set(OLLAMA_PATHS) - {PUSH}  # which is always refused
    told = {"/v1/models", "/v1/models/events", "/health", "/ready", "/version", "/metrics"}
    declared = {operation.route.path for operation in OPERATIONS if operation.route is not None}
    assert described - declared == asked | told
    assert "/v1/models/{model_id}" in document["paths"]
    fields = document["components"]["schemas"]["ChatRequest"]["properties"]
    assert {"messages", "tools", "tool_choice", "response_format", "stream_options"} <= set(fields)
