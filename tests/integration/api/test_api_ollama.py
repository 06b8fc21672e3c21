"""Ollama's API with the bundled model and the scripted engine: answers, ``keep_alive``, vectors, tools, sessions."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from tests.support.eventually import eventually
from tests.support.serving import ServedHost

Json = dict[str, Any]
CHAT, GENERATE, EMBED, EMBEDDINGS = (f"/api/{name}" for name in ("chat", "generate", "embed", "embeddings"))
NOTES = "x-modelhost-notes"
HELLO = [{"role": "user", "content": "Hello!"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"name": "get_weather", "description": "Tells the weather of a city.", "parameters": SCHEMA}
TOOLS = [{"type": "function", "function": WEATHER}]
GREEDY = {"temperature": 0, "num_predict": 16}
TOO_LONG = "hello world " * 2000


def post(host: ServedHost, path: str, **fields: Any) -> httpx2.Response:
    return host.http.post(path, json=fields, headers=fields.pop("headers", {}))


def answer(host: ServedHost, path: str, **fields: Any) -> Json:
    response = post(host, path, stream=False, **fields)
    found: Json = response.json()
    assert response.status_code == 200, found
    return found


def chat(host: ServedHost, **fields: Any) -> Json:
    return answer(host, CHAT, **{"messages": HELLO, "options": GREEDY, **fields})


def generate(host: ServedHost, **fields: Any) -> Json:
    return answer(host, GENERATE, **{"prompt": "Hello!", "options": GREEDY, **fields})


def lines_of(response: httpx2.Response) -> list[Json]:
    assert response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


def notes_of(response: httpx2.Response) -> list[str]:
    return response.headers.get_list(NOTES)


def state_of(host: ServedHost) -> Json:
    """Whether the only model is loaded, and how long it stays without requests."""
    (card,) = host.http.get("/v1/models").json()["data"]
    info = host.http.get(f"/v1/models/{card['id']}/info").json()
    return {"state": card["state"], "seconds": info["config"]["idle_unload_seconds"]}


# Answers.


@pytest.mark.parametrize("path", [CHAT, GENERATE])
def test_an_answer_is_a_stream_unless_the_client_declines(nano_host: ServedHost, path: str) -> None:
    body: Json = {"messages": HELLO, "options": GREEDY} if path == CHAT else {"prompt": "Hello!", "options": GREEDY}
    *texts, last = lines_of(post(nano_host, path, **body))
    whole = answer(nano_host, path, **body)

    def said(line: Json) -> str:
        return str(line["message"]["content"] if path == CHAT else line["response"])

    assert "".join(map(said, texts)) == said(whole)
    assert len(texts) > 1
    assert said(last) == ""
    counted = ("done", "done_reason", "prompt_eval_count", "eval_count", "model")
    assert {name: last[name] for name in counted} == {name: whole[name] for name in counted}
    assert last["total_duration"] >= last["prompt_eval_duration"] + last["eval_duration"] > 0


def test_a_prompt_is_answered_as_a_message(nano_host: ServedHost) -> None:
    assert generate(nano_host)["response"] == chat(nano_host)["message"]["content"]
    asked = {"system": "You are kind.", "prompt": "Hi"}
    messages = [{"role": "system", "content": "You are kind."}, {"role": "user", "content": "Hi"}]
    assert generate(nano_host, **asked)["response"] == chat(nano_host, messages=messages)["message"]["content"]


def test_a_limit_ends_an_answer(nano_host: ServedHost) -> None:
    found = chat(nano_host, options={"num_predict": 2})
    assert (found["done_reason"], found["eval_count"]) == ("length", 2)
    assert chat(nano_host, options={"num_predict": -1, "temperature": 0})["done_reason"] == "stop"


def test_a_stop_text_ends_an_answer(nano_host: ServedHost) -> None:
    whole = chat(nano_host)["message"]["content"]
    stop = whole.split()[1]
    for given in (stop, ["never said", stop]):
        found = chat(nano_host, options={**GREEDY, "stop": given})
        assert (found["message"]["content"], found["done_reason"]) == (whole[: whole.index(stop)], "stop")


def test_an_answer_has_a_format(nano_host: ServedHost) -> None:
    answered = {"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"]}
    closed = {**answered, "additionalProperties": False}
    assert list(json.loads(chat(nano_host, format=closed, options={})["message"]["content"])) == ["yes"]
    assert list(json.loads(generate(nano_host, format=closed, options={})["response"])) == ["yes"]


def test_log_probabilities_are_those_of_each_token(nano_host: ServedHost) -> None:
    found = chat(nano_host, logprobs=True, top_logprobs=2, options={"num_predict": 3, "temperature": 0})
    assert "".join(each["token"] for each in found["logprobs"]) == found["message"]["content"]
    for each in found["logprobs"]:
        assert len(each["top_logprobs"]) == 2
        assert each["logprob"] == each["top_logprobs"][0]["logprob"] <= 0
    assert "logprobs" not in chat(nano_host, top_logprobs=2)


def test_a_raw_prompt_gets_no_template(nano_host: ServedHost) -> None:
    raw, plain = generate(nano_host, raw=True), generate(nano_host)
    assert raw["prompt_eval_count"] < plain["prompt_eval_count"]
    assert raw["response"]
    assert lines_of(post(nano_host, GENERATE, prompt="Hello!", raw=True, options=GREEDY))[-1]["done"] is True


def test_filling_in_needs_a_model_for_it(nano_host: ServedHost) -> None:
    refused = post(nano_host, GENERATE, prompt="def f():", suffix="return 1")
    assert (refused.status_code, refused.json()["param"]) == (400, "suffix")


def test_a_prefilled_answer_is_continued(nano_host: ServedHost) -> None:
    begun = [*HELLO, {"role": "assistant", "content": "Good"}]
    continued, asked_again = chat(nano_host, messages=begun), chat(nano_host, messages=[*begun, *HELLO])
    assert continued["prompt_eval_count"] < asked_again["prompt_eval_count"]


def test_models_are_known_with_the_tag_latest(nano_host: ServedHost) -> None:
    assert chat(nano_host, model="modelhost-nano:latest")["model"] == "modelhost-nano:latest"
    assert chat(nano_host)["model"] == "modelhost-nano"
    refused = post(nano_host, CHAT, model="nobody", messages=HELLO)
    assert refused.status_code == 404
    assert "not found" in refused.json()["error"]


def test_what_has_no_effect_is_noted(nano_host: ServedHost) -> None:
    options = {"num_ctx": 512, "num_gpu": 1, "mystery": 1, "seed": 3, "repeat_penalty": 1.1, "num_predict": 1}
    given = post(nano_host, CHAT, messages=HELLO, options=options, mystery=True, stream=False)
    assert notes_of(given) == ["ignored=mystery", "ignored=options.num_gpu", "ignored=options.mystery"]
    given = post(nano_host, CHAT, messages=HELLO, options={"num_ctx": 10**6, "num_predict": 1}, stream=False)
    assert notes_of(given) == ["ignored=options.num_ctx"]


def test_a_prompt_that_is_too_long_is_refused(nano_host: ServedHost) -> None:
    refused = post(nano_host, CHAT, messages=[{"role": "user", "content": TOO_LONG}])
    assert (refused.status_code, refused.json()["code"]) == (400, "context_length_exceeded")


def test_an_error_in_a_stream_is_its_last_line(scripted_host: ServedHost) -> None:
    said = [{"role": "user", "content": "/batch 1 /malformed 2 /echo one two three"}]
    first, second, last = lines_of(post(scripted_host, CHAT, messages=said))
    assert (first["message"]["content"], second["message"]["content"]) == ("one", " two")
    assert (last["code"], isinstance(last["error"], str), "done" in last) == ("engine_error", True, False)


def test_white_space_keeps_a_silent_stream_alive(start_host: Callable[..., ServedHost]) -> None:
    host = start_host(engine="scripted", keep_alive_interval=0.1)
    response = post(host, CHAT, messages=[{"role": "user", "content": "/delay 1 /echo late"}])
    assert response.content.startswith(b" ")
    text, last = lines_of(response)
    assert (text["message"]["content"], last["done"]) == ("late", True)


# Tools.


def test_a_tool_is_called_and_its_result_used(nano_host: ServedHost) -> None:
    asked = {"role": "user", "content": "How is the weather in Paris?"}
    *_, calls, last = lines_of(post(nano_host, CHAT, messages=[asked], tools=TOOLS, options={"temperature": 0}))
    (call,) = calls["message"]["tool_calls"]
    assert (call["function"]["name"], call["function"]["arguments"]) == ("get_weather", {"city": "Paris"})
    assert last["done_reason"] == "stop"
    # As the client's packages send it, without an id.
    made = {"function": {name: call["function"][name] for name in ("name", "arguments")}}
    messages = [
        asked,
        {"role": "assistant", "content": "", "tool_calls": [made]},
        {"role": "tool", "tool_name": "get_weather", "content": "sunny"},
    ]
    found = chat(nano_host, messages=messages, tools=TOOLS)["message"]
    assert "tool_calls" not in found
    assert "sunny" in found["content"]


# Sessions.


def test_a_session_is_continued_by_a_header(nano_host: ServedHost) -> None:
    named = {"headers": {"X-Session-Id": "ollama-session"}}
    first = post(nano_host, CHAT, messages=HELLO, options=GREEDY, stream=False, **named)
    assert first.headers["x-session-id"] == "ollama-session"
    said = [{"role": "user", "content": "And now?"}]
    again = post(nano_host, CHAT, messages=said, options=GREEDY, stream=False, **named).json()
    assert again["prompt_eval_count"] > chat(nano_host, messages=said)["prompt_eval_count"]


def test_a_name_that_no_session_can_have_is_refused(nano_host: ServedHost) -> None:
    for messages in (HELLO, []):
        refused = post(nano_host, CHAT, messages=messages, session_id="a\x84")
        assert (refused.status_code, refused.json()["param"]) == (400, "session_id")


# Loading and unloading.


@pytest.mark.parametrize(("path", "nothing"), [(CHAT, {"messages": []}), (CHAT, {}), (GENERATE, {"prompt": ""})])
def test_a_request_without_contents_loads_and_unloads(
    start_host: Callable[..., ServedHost], path: str, nothing: Json
) -> None:
    host = start_host(engine="scripted")
    unloaded = post(host, path, **nothing, keep_alive=0)
    assert unloaded.headers["content-type"] == "application/json"
    assert (unloaded.json()["done"], unloaded.json()["done_reason"]) == (True, "unload")
    assert state_of(host)["state"] == "unloaded"
    loaded = post(host, path, **nothing, keep_alive="10m").json()
    assert (loaded["done"], loaded["done_reason"]) == (True, "load")
    assert state_of(host) == {"state": "ready", "seconds": 600}


def test_a_model_stays_loaded_as_long_as_the_last_client_wants(start_host: Callable[..., ServedHost]) -> None:
    host = start_host(engine="scripted", idle_unload_secs=900)
    said = [{"role": "user", "content": "/echo yes"}]
    for keep_alive, seconds in ((None, 900), ("1h30m", 5400), (None, 5400), (-1, None), (60, 60)):
        post(host, CHAT, messages=said, keep_alive=keep_alive)
        assert state_of(host) == {"state": "ready", "seconds": seconds}
    assert lines_of(post(host, CHAT, messages=said, keep_alive=0))[-1]["done"] is True
    eventually(lambda: state_of(host) == {"state": "unloaded", "seconds": 900})
    assert answer(host, CHAT, messages=said)["load_duration"] > 0
    assert state_of(host) == {"state": "ready", "seconds": 900}


def test_a_model_at_work_is_unloaded_after_that(start_host: Callable[..., ServedHost]) -> None:
    host = start_host(engine="scripted")
    said = [{"role": "user", "content": "/tokens 20 /slow 20"}]
    with host.http.stream("POST", CHAT, json={"messages": said}) as stream:
        pieces = stream.iter_bytes()
        next(pieces)
        assert post(host, CHAT, keep_alive=0).json()["done_reason"] == "unload"
        assert state_of(host)["state"] == "busy"
        rest = b"".join(pieces)
    assert rest.endswith(b'"done":true}\n')
    eventually(lambda: state_of(host)["state"] == "unloaded")


def test_a_wrong_time_is_refused(nano_host: ServedHost) -> None:
    refused = post(nano_host, CHAT, messages=HELLO, keep_alive="soon")
    assert (refused.status_code, refused.json()["param"]) == (400, "keep_alive")


# Vectors.


def length(vector: list[float]) -> float:
    return math.sqrt(sum(value * value for value in vector))


def test_vectors_have_a_length_of_one(nano_host: ServedHost) -> None:
    found = answer(nano_host, EMBED, input=["one", "two"])
    assert [length(vector) for vector in found["embeddings"]] == [pytest.approx(1), pytest.approx(1)]
    assert found["prompt_eval_count"] >= 2
    assert found["total_duration"] > 0
    assert found["model"] == "modelhost-nano"
    (alone,) = answer(nano_host, EMBED, input="one")["embeddings"]
    assert alone == pytest.approx(found["embeddings"][0], abs=0.01)
    (short,) = answer(nano_host, EMBED, input="one", dimensions=4)["embeddings"]
    assert (len(short), length(short)) == (4, pytest.approx(1))


def test_the_older_path_has_one_vector(nano_host: ServedHost) -> None:
    found = answer(nano_host, EMBEDDINGS, prompt="one")
    assert found.keys() == {"embedding"}
    (vector,) = answer(nano_host, EMBED, input="one")["embeddings"]
    assert [value / length(found["embedding"]) for value in found["embedding"]] == pytest.approx(vector, abs=0.01)


def test_nothing_to_embed_loads_the_model(nano_host: ServedHost) -> None:
    for nothing in ({}, {"input": ""}, {"input": []}):
        assert answer(nano_host, EMBED, **nothing)["embeddings"] == []
    assert answer(nano_host, EMBEDDINGS, prompt="") == {"embedding": []}


def test_the_beginning_of_a_text_that_is_too_long_is_embedded(nano_host: ServedHost) -> None:
    response = post(nano_host, EMBED, input=[TOO_LONG, "one"])
    assert (response.status_code, notes_of(response)) == (200, ["truncated=input"])
    long, one = response.json()["embeddings"]
    assert [length(long), length(one)] == [pytest.approx(1), pytest.approx(1)]
    assert post(nano_host, EMBEDDINGS, prompt=TOO_LONG).status_code == 200
    refused = post(nano_host, EMBED, input=TOO_LONG, truncate=False)
    assert (refused.status_code, refused.json()["code"]) == (400, "context_length_exceeded")


def test_options_of_vectors_are_noted(nano_host: ServedHost) -> None:
    response = post(nano_host, EMBED, input="one", options={"temperature": 1, "num_ctx": 64})
    assert notes_of(response) == ["ignored=options.temperature"]


def test_an_empty_text_among_others_is_refused_by_its_place(nano_host: ServedHost) -> None:
    response = post(nano_host, EMBED, input=["one", ""])
    assert (response.status_code, response.json()["param"]) == (400, "input[1]")


def test_an_image_that_a_model_cannot_see_is_refused_by_its_place(nano_host: ServedHost) -> None:
    messages = [{"role": "user", "content": "Hi"}, {"role": "user", "content": "What is it?", "images": ["iVBORw0K"]}]
    for path, fields, param in (
        (CHAT, {"messages": messages}, "messages[1].images[0]"),
        (GENERATE, {"prompt": "What is it?", "images": ["iVBORw0K"]}, "images[0]"),
    ):
        response = post(nano_host, path, stream=False, **fields)
        assert (response.status_code, response.json()["param"]) == (400, param)


def test_thinking_of_a_model_that_has_none_is_noted(nano_host: ServedHost) -> None:
    for path, fields in ((CHAT, {"messages": [{"role": "user", "content": "Hi"}]}), (GENERATE, {"prompt": "Hi"})):
        for think, notes in ((True, ["ignored=think"]), ("high", ["ignored=think"]), (False, [])):
            response = post(nano_host, path, stream=False, think=think, options={"num_predict": 2}, **fields)
            assert (response.status_code, notes_of(response)) == (200, notes)
    raw = post(nano_host, GENERATE, stream=False, prompt="Hi", raw=True, think=True, options={"num_predict": 2})
    assert notes_of(raw) == ["ignored=think"]


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_json_that_is_cut_off_is_its_beginning(nano_host: ServedHost, limit: int) -> None:
    options = {"num_predict": limit, "temperature": 0}
    for question in ("hi", "Who are you?"):
        messages = [{"role": "user", "content": question}]
        found = post(nano_host, CHAT, stream=False, format="json", options=options, messages=messages).json()
        assert found["message"]["content"].startswith("{")


def test_a_very_long_name_is_not_repeated_whole(nano_host: ServedHost) -> None:
    for path, fields in (
        (CHAT, {"messages": []}),
        ("/api/show", {}),
        ("/v1/messages", {"max_tokens": 1, "messages": []}),
    ):
        response = nano_host.http.post(path, json={"model": "m" * 1_000_000, **fields})
        assert response.status_code in {400, 404}
        assert len(response.content) < 2_000
