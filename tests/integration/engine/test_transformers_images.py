"""Images on transformers, with models of random weights: what a host answers is what transformers generates itself."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from modelhost.models.files.hf_directory import read_hf_directory
from tests.support.eventually import eventually
from tests.support.media_files import of_each_format, png_url
from tests.support.nano_hf import NANO_HF
from tests.support.raw_http import read_until, send_post
from tests.support.serving import ServedHost
from tests.support.session_talk import post, refusal
from tests.support.tiny_vision import (
    CONTEXT,
    PIECES,
    TEXTS,
    image_part,
    in_older_layout,
    picture,
    png,
    without_processor,
    write_idefics,
    write_llava,
    write_llava_next,
)
from tests.support.tool_hosts import chunks, config, sdk_server, told, tool_name, wait_for_tools

CHAT: Final = "/v1/chat/completions"
LENGTH: Final = 8
"""Tokens of an answer that is compared."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of models, and what transformers reads its prompts with."""

    processor: str
    folder: Path
    host: ServedHost


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "text": content}


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def anthropic_part(image: Any) -> dict[str, Any]:
    data = base64.b64encode(png(image)).decode()
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}


@pytest.fixture(scope="module")
def llava_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llava(tmp_path_factory.mktemp("llava"))


@pytest.fixture(scope="module")
def host(llava_files: Path) -> Iterator[ServedHost]:
    with ServedHost(model=str(llava_files), slots=3) as started:
        yield started


@pytest.fixture(scope="module", params=["llava", "llava_next", "idefics3", "smolvlm"])
def kind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kind]:
    if request.param == "llava":
        folder, shared = request.getfixturevalue("llava_files"), request.getfixturevalue("host")
        yield Kind("LlavaProcessor", folder, shared)
        return
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "llava_next":
        name = "LlavaNextProcessor"
        write_llava_next(folder)
    else:
        name = "Idefics3Processor"
        write_idefics(folder, is_smolvlm=request.param == "smolvlm")
    with ServedHost(model=str(folder)) as started:
        yield Kind(name, folder, started)


@cache
def reference(folder: Path, processor: str) -> tuple[Any, Any]:
    import torch  # noqa: PLC0415 (takes seconds)
    import transformers  # noqa: PLC0415

    torch.set_num_threads(1)
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder).eval()
    return model, getattr(transformers, processor).from_pretrained(folder)


def generated(kind: Kind, messages: Sequence[dict[str, Any]], pictures: list[Any]) -> tuple[list[str], int]:
    """Return the tokens that transformers generates as texts, and the number of those of the prompt."""
    model, processor = reference(kind.folder, kind.processor)
    shown = [
        {**each, "content": [{"type": "image"} if part["type"] == "image_url" else part for part in each["content"]]}
        for each in messages
    ]
    prompt = processor.apply_chat_template(shown, add_generation_prompt=True)
    inputs = processor(text=prompt, images=pictures or None, return_tensors="pt", add_special_tokens=False)
    count = inputs["input_ids"].shape[1]
    found = model.generate(**inputs, max_new_tokens=LENGTH, min_new_tokens=LENGTH, do_sample=False)
    pieces = processor.tokenizer.backend_tokenizer
    return [pieces.decode([token], skip_special_tokens=False) for token in found[0, count:].tolist()], count


def answered(host: ServedHost, *messages: dict[str, Any], **fields: Any) -> tuple[list[str], dict[str, Any]]:
    """Return the tokens of the most likely answer as texts, and its usage."""
    body = {"max_tokens": LENGTH, "temperature": 0, "ignore_eos": True, "logprobs": True, **fields}
    answer = post(host, list(messages), **body)
    assert answer.status_code == 200, answer.text
    whole = answer.json()
    return [each["token"] for each in whole["choices"][0]["logprobs"]["content"]], whole["usage"]


def cached_tokens(host: ServedHost, *messages: dict[str, Any]) -> int:
    return int(answered(host, *messages)[1]["prompt_tokens_details"]["cached_tokens"])


def test_answers_are_those_that_transformers_generates(kind: Kind) -> None:
    one, two, three = picture(1), picture(2, 60, 20), picture(3, 15, 70)
    conversations = (
        ([user(text("What is this? "), image_part(one))], [one]),
        ([user(image_part(two), image_part(one), text("Which is older?"))], [two, one]),
        (
            [
                user(image_part(three), text("Describe it.")),
                {"role": "assistant", "content": [text("A cat.")]},
                user(text("And this? "), image_part(one)),
            ],
            [three, one],
        ),
        ([user(text("Hello! Who are you?"))], []),
    )
    answers = []
    for messages, pictures in conversations:
        expected, count = generated(kind, messages, pictures)
        tokens, usage = answered(kind.host, *messages)
        assert (tokens, usage["prompt_tokens"]) == (expected, count)
        answers.append(tuple(tokens))
    assert len(set(answers)) == len(answers)


def test_a_template_that_shows_no_images_gets_them_in_the_text(llava_files: Path, tmp_path: Path) -> None:
    path = tmp_path / "template.jinja"
    path.write_text(TEXTS)
    with ServedHost(model=str(llava_files), chat_template=str(path)) as host:
        without = answered(host, user(text("Hello")))[1]["prompt_tokens"]
        one, other = (answered(host, user(text("Hello"), image_part(picture(seed)))) for seed in (1, 2))
    assert one[1]["prompt_tokens"] == without + PIECES + 1  # and a line break
    assert one[0] != other[0]


@pytest.mark.parametrize(("write", "has_processor"), [(write_llava, True), (write_llava, False), (write_idefics, True)])
def test_directories_in_an_older_layout_give_the_same_answers(
    write: Callable[..., Path], has_processor: bool, tmp_path: Path
) -> None:
    question = user(text("What is this? "), image_part(picture(1)))
    folder = write(tmp_path / "model")
    with ServedHost(model=str(folder)) as host:
        expected = answered(host, question)
    with ServedHost(model=str(in_older_layout(folder, has_processor=has_processor))) as host:
        assert answered(host, question) == expected


def test_every_image_is_counted(host: ServedHost) -> None:
    without = answered(host, user(text("Hello")))[1]["prompt_tokens"]
    messages = [user(text("Hello"), image_part(picture(1)), image_part(picture(2)))]
    assert answered(host, *messages)[1]["prompt_tokens"] == without + 2 * PIECES
    (name,) = [model["id"] for model in host.http.get("/v1/models").json()["data"]]
    tokenized = host.http.post("/tokenize", json={"model": name, "messages": messages}).json()
    assert tokenized["count"] == len(tokenized["tokens"]) == without + 2 * PIECES
    parts = [text("Hello"), *(anthropic_part(picture(seed)) for seed in (1, 2))]
    asked = {"model": name, "messages": [{"role": "user", "content": parts}]}
    counted = host.http.post("/v1/messages/count_tokens", json=asked).json()
    assert counted == {"input_tokens": without + 2 * PIECES}


def test_the_beginning_of_a_conversation_is_found_again_by_its_images(host: ServedHost) -> None:
    first, same = user(image_part(picture(11)), text("Look")), user(image_part(picture(11)), text("Look"))
    tokens, _ = answered(host, first)
    again, usage = answered(host, same)
    assert again == tokens
    assert usage["prompt_tokens_details"]["cached_tokens"] == usage["prompt_tokens"] - 1
    assert cached_tokens(host, user(image_part(picture(12)), text("Look"))) < PIECES
    longer = [first, {"role": "assistant", "content": "Yes."}, user(text("And? "), image_part(picture(13)))]
    assert cached_tokens(host, *longer) > PIECES
    fresh = answered(host, *longer)
    assert fresh[0] == answered(host, *longer)[0]


def test_images_of_requests_at_the_same_time_are_kept_apart(host: ServedHost) -> None:
    def ask(seed: int) -> list[str]:
        question = user(text(f"Look {seed % 3}"), image_part(picture(seed, 20 + seed, 30)))
        return answered(host, question, max_tokens=24)[0]

    seeds = range(20, 32)
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(ask, seeds))
    assert together == [ask(seed) for seed in seeds]
    assert len(set(map(tuple, together))) == len(seeds)


def test_an_image_that_a_tool_returned_is_seen(host: ServedHost) -> None:
    def conversation(content: Any) -> list[dict[str, Any]]:
        call = {"id": "a", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        return [
            user(text("Look!")),
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "a", "content": content},
        ]

    plain = answered(host, *conversation("Here."))[1]["prompt_tokens"]
    seen = [answered(host, *conversation([text("Here."), image_part(picture(seed))])) for seed in (1, 2)]
    assert [usage["prompt_tokens"] for _, usage in seen] == [plain + PIECES] * 2
    assert seen[0][0] != seen[1][0]


def test_the_image_of_a_tool_of_the_host_is_in_the_prompt_of_the_next_turn(tmp_path: Path) -> None:
    folder = write_llava(tmp_path / "llava", template=(NANO_HF / "chat_template.jinja").read_text())
    with ServedHost(model=str(folder), mcp_config=config(tmp_path, sdk=sdk_server())) as host:
        name = tool_name(wait_for_tools(host), "picture")
        forced = {"type": "function", "function": {"name": name}}
        fields = {"temperature": 0, "tool_choice": forced, "stream_options": {"include_usage": True}}
        first, both = (
            chunks(host, "Look!", mcp={"tools": [name], "max_turns": turns}, max_tokens=60, **fields)
            for turns in (1, 2)
        )
        (call,), (result,) = told(both, "tool_call"), told(both, "tool_result")
        asked = {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": "{}"}}
        messages = [
            {"role": "user", "content": "Look!"},
            {"role": "assistant", "content": None, "tool_calls": [asked]},
            {"role": "tool", "tool_call_id": call["id"], "content": result["text"]},
        ]
        listed = host.http.get("/v1/mcp/tools").json()["data"]
        tools = [{"type": "function", "function": each["function"]} for each in listed]
        shown = [tool for tool in tools if tool["function"]["name"] == name]
        without = post(host, messages, tools=shown, max_tokens=1).json()["usage"]["prompt_tokens"]
    used = [found[-1]["usage"]["prompt_tokens"] for found in (first, both)]
    assert used[1] - used[0] == without + PIECES + 1  # and a line break


def test_a_template_without_tools_keeps_those_of_the_host_away(llava_files: Path, tmp_path: Path) -> None:
    with ServedHost(model=str(llava_files), mcp_config=config(tmp_path, sdk=sdk_server())) as host:
        wait_for_tools(host)
        for seed in (1, 2):
            answer = post(host, [user(text("What is this?"), image_part(picture(seed)))], max_tokens=1)
            assert (answer.status_code, answer.headers["x-modelhost-notes"]) == (200, "tools-left-out"), answer.text
        named = post(host, [user(text("Look!"))], mcp={"servers": ["sdk"]})
        assert refusal(named) == (400, "unsupported_parameter")
        (model,) = host.http.get("/v1/models").json()["data"]
        log = host.http.get(f"/v1/models/{model['id']}/logs").text
        assert log.count("shows no tools to the model, so it cannot call any") == 1  # once, when it was loaded


def test_streams_and_schemas_work_with_images(host: ServedHost) -> None:
    question = [user(text("Look"), image_part(picture(1)))]
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 5}, "count": {"enum": [1, 2, 3]}},
        "required": ["name", "count"],
        "additionalProperties": False,
    }
    shape = {"type": "json_schema", "json_schema": {"name": "it", "schema": schema, "strict": True}}
    whole = post(host, question, temperature=0, response_format=shape).json()
    found = json.loads(whole["choices"][0]["message"]["content"])
    assert found["count"] in (1, 2, 3)
    body = {"messages": question, "temperature": 0, "response_format": shape, "stream": True}
    with host.http.stream("POST", CHAT, json=body) as answer:
        events = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: {")]
    deltas = [json.loads(event)["choices"][0]["delta"].get("content") or "" for event in events]
    assert json.loads("".join(deltas)) == found


def test_penalties_and_sampling_work_with_images(host: ServedHost) -> None:
    question = user(text("Look"), image_part(picture(1)))
    drawn = [
        answered(host, question, temperature=1, seed=seed, repetition_penalty=1.3, presence_penalty=0.5)[0]
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_client_that_leaves_ends_its_answer(host: ServedHost) -> None:
    cancelled = host.metric("modelhost_cancelled_total")
    body = {
        "messages": [user(text("Look"), image_part(picture(1)))],
        "max_tokens": CONTEXT - 100,
        "ignore_eos": True,
        "stream": True,
    }
    with closing(send_post(host.url, CHAT, body)) as connection:
        read_until(connection, b"data: ")
    eventually(lambda: host.metric("modelhost_cancelled_total") == cancelled + 1)
    assert answered(host, user(image_part(picture(1))))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("data:image/svg+xml;base64,PHN2Zy8+", "is none of PNG"),
        ("data:image/png;base64,iVBORw0KGgo=", "the image is damaged"),
        (png_url(64, 64)[:-64], "messages[0].content[0]: the image cannot be read: it is damaged"),
    ],
)
def test_a_damaged_image_is_the_callers_fault(host: ServedHost, url: str, words: str) -> None:
    for stream in (False, True):
        answer = post(host, [user({"type": "image_url", "image_url": {"url": url}})], stream=stream)
        assert refusal(answer) == (400, "invalid_request")
        assert words in answer.json()["error"]["message"]


def test_an_enormous_image_is_refused_and_the_others_are_untouched(host: ServedHost) -> None:
    data = base64.b64encode(of_each_format(60_000, 60_000)[0]).decode()
    large = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    assert refusal(post(host, [user(image_part(picture(1)), large)])) == (413, "request_too_large")
    assert answered(host, user(image_part(picture(1))))


def test_images_that_exceed_the_context_are_refused_with_their_tokens(host: ServedHost) -> None:
    many = user(*(image_part(picture(seed)) for seed in range(CONTEXT // PIECES + 1)))
    answer = post(host, [many])
    assert refusal(answer) == (400, "context_length_exceeded")


def test_the_model_says_that_it_sees(host: ServedHost) -> None:
    (card,) = host.http.get("/v1/models").json()["data"]
    assert (card["sees_images"], card["hears_audio"], card["engine"]) == (True, False, "transformers")
    shown = host.http.get(f"/v1/models/{card['id']}/info").json()["capabilities"]["supports_vision"]
    assert shown is True
    assert "vision" in host.http.post("/api/show", json={"model": card["id"]}).json()["capabilities"]


def test_an_answer_can_be_put_together_from_the_bytes_of_its_tokens(host: ServedHost) -> None:
    fields = {"temperature": 0, "max_tokens": 24, "logprobs": True, "top_logprobs": 5}
    (choice,) = post(host, [user(text("x"), image_part(picture(11)))], **fields).json()["choices"]
    tokens = choice["logprobs"]["content"]
    parts = [each["bytes"] for each in tokens if "\ufffd" in each["token"]]
    assert parts  # a part of a character is among them
    assert [0xEF, 0xBF, 0xBD] not in parts
    assert [0xEF, 0xBF, 0xBD] not in [each["bytes"] for token in tokens for each in token["top_logprobs"]]
    joined = bytes(byte for token in tokens for byte in token["bytes"]).decode(errors="replace")
    assert joined.startswith(choice["message"]["content"])


def test_an_image_with_other_characters_within_its_base64_is_refused(host: ServedHost) -> None:
    url = png_url(64, 64)
    for junk in ("@@@@", "====", "\0", "-_"):
        damaged = {"type": "image_url", "image_url": {"url": url[:-40] + junk + url[-40:]}}
        answer = post(host, [user(damaged)])
        assert refusal(answer) == (400, "invalid_request")
        assert "the image is not in base64" in answer.json()["error"]["message"]


LARGE: Final = {
    "image_size": 384,
    "patch_size": 16,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
}


@pytest.mark.parametrize("write", [write_llava, write_idefics])
def test_the_estimate_covers_what_an_image_takes(write: Callable[..., Path], tmp_path: Path) -> None:
    folder = write(tmp_path / "large", **LARGE)
    weights = (folder / "model.safetensors").stat().st_size  # those of the encoder are not read before an image is
    estimate = read_hf_directory(folder).image_work_bytes
    seeing = _peak_bytes(folder, image_part(picture(1, 800, 800)))
    blind = _peak_bytes(without_processor(folder))
    assert estimate // 4 <= seeing - blind - weights <= estimate


def _peak_bytes(folder: Path, *parts: dict[str, Any]) -> int:
    """Return the most memory that the worker of a model takes that answers one message with ``parts``."""
    with ServedHost(model=str(folder), slots=1) as host:
        answered(host, user(text("word " * 100), *parts))
        (worker,) = host.worker_pids()
        return _peak_of(worker)


def _peak_of(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024
