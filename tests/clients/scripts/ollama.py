"""Ollama's own client: chats, prompts, streams, tools, formats, images, vectors, loading and errors.

Run as ``python -P ollama.py BASE_URL MODEL`` with the Python that has the client.
"""

from __future__ import annotations

import asyncio
import json
import sys
import unittest
from typing import Any

import ollama

URL, MODEL = sys.argv[1:]
ROOT = URL.removesuffix("/v1")
CLIENT = ollama.Client(host=ROOT, timeout=120)
HELLO: Any = [{"role": "user", "content": "Hello!"}]
OPTIONS: Any = {"temperature": 0, "num_predict": 32, "num_ctx": 512}
TALK: Any = {"model": MODEL, "messages": HELLO, "options": OPTIONS}
PROMPT: Any = {"model": MODEL, "prompt": "Hello!", "options": OPTIONS}
TOO_LONG = "Once upon a time there was a model. " * 2000
YES: Any = {
    "type": "object",
    "properties": {"yes": {"type": "boolean"}},
    "required": ["yes"],
    "additionalProperties": False,
}


def get_weather(city: str) -> str:
    """Tells the weather of a city.

    Args:
        city: The city.

    Returns:
        The weather.
    """
    return f"sunny in {city}"


class Answers(unittest.TestCase):
    """Whole answers and streams."""

    def test_chat(self) -> None:
        answer = CLIENT.chat(**TALK)
        assert answer.message.content
        assert (answer.message.role, answer.model, answer.done) == ("assistant", MODEL, True)
        assert answer.done_reason in ("stop", "length")
        assert answer.eval_count
        assert answer.prompt_eval_count
        assert answer.eval_duration
        assert answer.total_duration

    def test_stream_is_the_whole_answer(self) -> None:
        lines = list(CLIENT.chat(**TALK, stream=True))
        said = "".join(line.message.content or "" for line in lines)
        assert said == CLIENT.chat(**TALK).message.content
        assert [line.done for line in lines] == [False] * (len(lines) - 1) + [True]
        assert lines[-1].eval_count

    def test_characters_that_end_a_line(self) -> None:
        messages = [{"role": "user", "content": "a\u2028b\u2029c\x85d"}]
        assert list(CLIENT.chat(model=MODEL, messages=messages, options=OPTIONS, stream=True))[-1].done

    def test_async_stream(self) -> None:
        async def read() -> str:
            client = ollama.AsyncClient(host=ROOT, timeout=120)
            stream = await client.chat(**TALK, stream=True)
            return "".join([line.message.content or "" async for line in stream])

        assert asyncio.run(read()) == CLIENT.chat(**TALK).message.content

    def test_prompt(self) -> None:
        whole = CLIENT.generate(**PROMPT)
        assert whole.response == CLIENT.chat(**TALK).message.content
        assert "".join(line.response or "" for line in CLIENT.generate(**PROMPT, stream=True)) == whole.response

    def test_raw_prompt(self) -> None:
        assert CLIENT.generate(**PROMPT, raw=True).response

    def test_thinking_of_a_model_that_does_not(self) -> None:
        for think in (False, True, "low"):
            assert not CLIENT.chat(**TALK, think=think).message.thinking

    def test_log_probabilities(self) -> None:
        answer = CLIENT.chat(**TALK, logprobs=True, top_logprobs=2)
        tokens = answer.logprobs or ()
        assert "".join(each.token for each in tokens) == answer.message.content
        assert all(len(each.top_logprobs or ()) == 2 for each in tokens)

    def test_formats(self) -> None:
        answer = CLIENT.chat(model=MODEL, messages=HELLO, format=YES)
        assert list(json.loads(answer.message.content or "")) == ["yes"]
        assert list(json.loads(CLIENT.generate(model=MODEL, prompt="Hello!", format=YES).response)) == ["yes"]


class Tools(unittest.TestCase):
    """Functions of Python as tools."""

    def test_call_and_result(self) -> None:
        messages: list[Any] = [{"role": "user", "content": "How is the weather in Paris?"}]
        asked: Any = {"model": MODEL, "tools": [get_weather], "options": {"temperature": 0}}
        answer = CLIENT.chat(messages=messages, **asked)
        (call,) = answer.message.tool_calls or ()
        assert (call.function.name, dict(call.function.arguments)) == ("get_weather", {"city": "Paris"})
        result = get_weather(**call.function.arguments)
        messages += [answer.message, {"role": "tool", "tool_name": "get_weather", "content": result}]
        last = CLIENT.chat(messages=messages, **asked)
        assert "sunny" in (last.message.content or "")

    def test_call_in_a_stream(self) -> None:
        messages = [{"role": "user", "content": "How is the weather in Paris?"}]
        lines = CLIENT.chat(model=MODEL, messages=messages, tools=[get_weather], options=OPTIONS, stream=True)
        calls = [call.function.name for line in lines for call in line.message.tool_calls or ()]
        assert calls == ["get_weather"]


class Vectors(unittest.TestCase):
    """Embeddings."""

    def test_texts(self) -> None:
        answer = CLIENT.embed(model=MODEL, input=["one", "two"])
        assert len(answer.embeddings) == 2
        assert all(abs(sum(value * value for value in vector) - 1) < 1e-3 for vector in answer.embeddings)
        assert CLIENT.embed(model=MODEL, input=TOO_LONG).embeddings

    def test_one_text(self) -> None:
        assert len(CLIENT.embeddings(model=MODEL, prompt="one").embedding) > 1


class Loading(unittest.TestCase):
    """Requests without contents."""

    def test_load(self) -> None:
        assert CLIENT.generate(model=MODEL, keep_alive="5m").done_reason == "load"
        assert CLIENT.chat(model=MODEL, keep_alive=-1).done_reason == "load"


class Errors(unittest.TestCase):
    """What a client is told of errors."""

    def refused(self, **fields: Any) -> ollama.ResponseError:
        with self.assertRaises(ollama.ResponseError) as caught:
            CLIENT.chat(**{**TALK, **fields})
        return caught.exception

    def test_unknown_model(self) -> None:
        error = self.refused(model="nobody")
        assert error.status_code == 404
        assert "not found" in error.error

    def test_wrong_value(self) -> None:
        error = self.refused(options={"temperature": "hot"})
        assert error.status_code == 400
        assert error.error.startswith("options.temperature: ")

    def test_prompt_that_is_too_long(self) -> None:
        error = self.refused(messages=[{"role": "user", "content": TOO_LONG}])
        assert error.status_code == 400
        assert "too long" in error.error

    def test_errors_of_streams(self) -> None:
        with self.assertRaises(ollama.ResponseError) as caught:
            list(CLIENT.chat(**{**TALK, "model": "nobody"}, stream=True))
        assert caught.exception.status_code == 404


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
