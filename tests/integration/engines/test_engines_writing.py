"""Every engine does the same with the same request: text, sampling, streams, usage, refusals."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.engines.served import CONTEXT, NAME, TOOLS, WEATHER, WHO, Asking, Served

ANSWER = "I am modelhost-nano, a tiny demonstration model."
HOT = {"temperature": 5.0, "max_tokens": 12, "ignore_eos": True, "top_k": 0, "top_p": 1, "min_p": 0}
"""Any token may come: what an engine cuts off by itself is switched off."""


def _hot(served: Served) -> dict[str, float]:
    return {**HOT, "temperature": min(HOT["temperature"], served.capabilities.max_temperature)}


@pytest.mark.promise("mistralrs.text")
def test_a_stream_is_the_whole_answer_in_pieces(asking: Asking) -> None:
    chunks = asking.chunks(stream_options={"include_usage": True})
    *pieces, last = chunks
    deltas = [chunk["choices"][0]["delta"] for chunk in pieces]
    assert deltas[0]["role"] == "assistant"
    texts = [delta["content"] for delta in deltas if delta.get("content")]
    assert "".join(texts) == asking.text() == ANSWER
    assert len(texts) > 5
    assert [chunk["choices"][0]["finish_reason"] for chunk in pieces].count("stop") == 1
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] >= len(texts)
    assert {chunk["model"] for chunk in chunks} == {NAME}
    assert len({chunk["id"] for chunk in chunks}) == 1


def test_usage_comes_only_where_it_is_asked_for(asking: Asking) -> None:
    assert not [chunk for chunk in asking.chunks() if chunk.get("usage") or not chunk["choices"]]


def test_usage_counts_the_prompt_and_the_answer(asking: Asking) -> None:
    usage = asking.chat(max_tokens=7)["usage"]
    assert usage["completion_tokens"] == 7
    assert usage["prompt_tokens"] == 17
    assert usage["total_tokens"] == 24


def test_a_conversation_that_goes_on_is_not_read_again(asking: Asking, served: Served) -> None:
    first = [{"role": "user", "content": "Please tell me a little bit about the city of Rome, in one sentence. " * 10}]
    answer = asking.chat(first)
    message = answer["choices"][0]["message"]
    second = [*first, {"role": "assistant", "content": message["content"]}, {"role": "user", "content": "Thank you!"}]
    usage = asking.chat(second)["usage"]
    if not served.capabilities.reports_cached_tokens:
        assert "prompt_tokens_details" not in usage
        return
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    assert cached >= answer["usage"]["prompt_tokens"] - served.capabilities.cache_tokens > 0


def test_the_end_of_the_tokens_is_a_length(asking: Asking) -> None:
    choice = asking.chat(max_tokens=3)["choices"][0]
    assert choice["finish_reason"] == "length"
    assert ANSWER.startswith(choice["message"]["content"])


@pytest.mark.parametrize("stop", [" demon", ["odelh", "tiny"], "I"])
def test_a_stop_string_ends_the_text_wherever_the_tokens_end(asking: Asking, stop: str | list[str]) -> None:
    first = min((each for each in ([stop] if isinstance(stop, str) else stop)), key=ANSWER.find)
    choice = asking.chat(stop=stop)["choices"][0]
    assert choice["message"]["content"] == ANSWER[: ANSWER.find(first)]
    assert choice["finish_reason"] == "stop"
    streamed = [chunk["choices"][0]["delta"].get("content") or "" for chunk in asking.chunks(stop=stop)]
    assert "".join(streamed) == ANSWER[: ANSWER.find(first)]


def test_a_stop_string_that_never_comes_takes_nothing_away(asking: Asking) -> None:
    assert asking.text(stop=["model!", "models"]) == ANSWER


@pytest.mark.promise("vllm-mcp.chat.seed")
def test_the_same_seed_is_the_same_text_and_another_one_is_another(asking: Asking, served: Served) -> None:
    if served.capabilities.provider_of("seed") == "refused":
        assert asking.refusal(seed=1, **_hot(served))["param"] == "seed"
        return
    texts = {seed: {asking.text(seed=seed, **_hot(served)) for _ in range(3)} for seed in (1, 2)}
    assert [len(each) for each in texts.values()] == [1, 1]
    assert texts[1] != texts[2]


@pytest.mark.parametrize("only_the_best", [{"min_p": 1.0}, {"top_k": 1}, {"top_p": 0.000001}])
def test_what_cuts_the_unlikely_off_leaves_the_best(
    asking: Asking, served: Served, only_the_best: dict[str, float]
) -> None:
    hot = {**_hot(served), **served.seed(1)}
    assert ANSWER.startswith(asking.text(**{**hot, **only_the_best}))
    assert not ANSWER.startswith(asking.text(**hot))


def test_a_least_number_of_tokens_survives_min_p(asking: Asking, served: Served) -> None:
    if served.capabilities.provider_of("min_tokens_to_keep") == "refused":
        assert asking.refusal(**{served.at_least: 500})["param"] == served.at_least
        return
    assert not ANSWER.startswith(asking.text(seed=1, **{**_hot(served), "min_p": 1.0, served.at_least: 500}))


def test_where_a_request_is_silent_the_makers_of_the_model_decide(asking: Asking, served: Served) -> None:
    if not served.capabilities.uses_generation_config:
        pytest.skip("its files do not say how the makers want the model to write")
    # The tiny model is to be greedy.
    body = {"prompt": "The", "max_tokens": 12}
    texts = {asking.post("/v1/completions", body).json()["choices"][0]["text"] for _ in range(4)}
    greedy = asking.post("/v1/completions", {**body, "temperature": 0}).json()["choices"][0]["text"]
    assert texts == {greedy}
    hot = asking.post("/v1/completions", {**body, "temperature": 2, **served.seed(1)}).json()["choices"][0]["text"]
    assert hot != greedy


def test_a_bias_forbids_a_token(asking: Asking) -> None:
    (token,) = asking.post("/tokenize", {"content": "I"}).json()["tokens"]
    assert not asking.text(logit_bias={str(token): -100}, max_tokens=5).startswith("I")


def test_a_penalty_ends_a_repetition(asking: Asking) -> None:
    body = {"prompt": "the the the the", "max_tokens": 8, "temperature": 0}
    plain = asking.post("/v1/completions", body).json()["choices"][0]["text"]
    penalised = asking.post("/v1/completions", {**body, "frequency_penalty": 2, "presence_penalty": 2})
    assert penalised.json()["choices"][0]["text"] != plain


def test_log_probabilities_tell_how_sure_the_model_was(asking: Asking) -> None:
    choice = asking.chat(logprobs=True, top_logprobs=3, max_tokens=6)["choices"][0]
    tokens = choice["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens) == choice["message"]["content"]
    for token in tokens:
        best = token["top_logprobs"]
        assert len(best) == 3
        assert best[0]["token"] == token["token"]
        assert best[0]["logprob"] == pytest.approx(token["logprob"], abs=1e-3)
        assert -1 < token["logprob"] <= 0
        assert best[0]["logprob"] >= best[1]["logprob"] >= best[2]["logprob"]


def test_two_choices_have_two_seeds(asking: Asking, served: Served) -> None:
    answer = asking.chat(n=2, **served.seed(3), **_hot(served))
    one, other = (choice["message"]["content"] for choice in answer["choices"])
    assert one != other
    assert answer["usage"]["completion_tokens"] == 24


@pytest.mark.promise("vllm-mcp.batching")
def test_requests_at_the_same_time_get_the_answers_that_they_get_alone(asking: Asking) -> None:
    questions = [
        *(WHO, WEATHER, "What can you do?", "Tell me a joke.", "What is the capital of France?", "Thank you!"),
        *("What is 2 plus 3?", "Please tell me a little bit about the city of Rome, in one sentence."),
    ]
    alone = [asking.text(question, max_tokens=24) for question in questions]
    for _ in range(2):
        with ThreadPoolExecutor(len(questions)) as clients:
            together = list(clients.map(lambda question: asking.text(question, max_tokens=24), questions))
        assert together == alone


def test_completions_continue_a_text_or_its_tokens(asking: Asking) -> None:
    tokens = asking.post("/tokenize", {"content": "I am"}).json()["tokens"]
    body = {"max_tokens": 6, "temperature": 0}
    texts = [
        asking.post("/v1/completions", {**body, "prompt": prompt}).json()["choices"][0]["text"]
        for prompt in ("I am", tokens)
    ]
    assert texts[0] == texts[1] != ""


def test_tokens_are_the_text_again(asking: Asking, served: Served) -> None:
    text = "Grüße aus Köln, 你好 🙂 <|im_end|>"
    tokens = asking.post("/tokenize", {"content": text}).json()["tokens"]
    assert asking.post("/detokenize", {"tokens": tokens}).json()["content"] == text
    pieces = asking.post("/tokenize", {"content": "I am", "with_pieces": True})
    if served.capabilities.provider_of("token_pieces") != "refused":
        assert "".join(piece["piece"] for piece in pieces.json()["tokens"]) == "I am"
    as_text = asking.post("/tokenize", {"content": "<|im_end|>", "parse_special": False})
    if served.capabilities.provider_of("markers_as_text") != "refused":
        assert len(as_text.json()["tokens"]) > 1


def test_a_prompt_that_is_too_long_is_refused_with_both_numbers(asking: Asking) -> None:
    error = asking.refusal("word " * 3000)
    assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")
    assert error["details"]["context_length"] == CONTEXT
    assert error["details"]["prompt_tokens"] > CONTEXT


def test_an_answer_ends_where_the_context_ends(asking: Asking) -> None:
    answer = asking.chat(ignore_eos=True, max_tokens=5000)
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["total_tokens"] == CONTEXT


@pytest.mark.parametrize("field", ["frobnicate", "num_ctx"])
def test_an_unknown_field_is_refused(asking: Asking, field: str) -> None:
    error = asking.refusal(**{field: {"a": 1}})
    assert (error["code"], error["param"]) == ("unsupported_parameter", field)


def test_a_wrong_value_is_refused_by_its_name(asking: Asking) -> None:
    assert asking.refusal(top_p=2.0)["param"] == "top_p"
    assert asking.refusal(chat_template_kwargs="no")["param"] == "chat_template_kwargs"


def test_a_picture_is_refused(asking: Asking) -> None:
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    error = asking.post("/v1/chat/completions", {"messages": [{"role": "user", "content": [part]}]})
    assert error.status_code == 400, error.text
    assert error.json()["error"]["code"] == "unsupported_operation"


def test_parts_of_text_are_one_text(asking: Asking) -> None:
    parts = [{"type": "text", "text": "Hello! "}, {"type": "text", "text": "Who are you?"}]
    assert asking.text([{"role": "user", "content": parts}]) == ANSWER  # type: ignore[list-item]


def test_tools_that_are_not_needed_are_not_called(asking: Asking) -> None:
    assert asking.text("Hello!", tools=TOOLS, tool_choice="none") == asking.text("Hello!")
