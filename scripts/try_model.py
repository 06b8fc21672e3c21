"""Checks one model of a running host over HTTP, and writes the results as rows of a Markdown table.

Used by ``try_on_your_machine.sh``: ``try_model.py check URL MODEL``, then ``try_model.py unload URL MODEL``. The exit
status is 1 if a check failed. ``try_model.py redact`` copies standard input to standard output without secrets. All of
it needs only Python's standard library.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any, Final, Literal
from urllib.parse import urlsplit

TIMEOUT_SECONDS: Final = 900.0
"""A request may take as long as the first answer of a large model on a slow machine."""
AT_ONCE: Final = 4
QUESTION: Final = "In two sentences: what is a language model?"
LONG_QUESTION: Final = "The quick brown fox jumps over the lazy dog. " * 25 + "How often does the fox jump?"
WEATHER: Final[Mapping[str, Any]] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
VERDICT: Final[Mapping[str, Any]] = {
    "type": "json_schema",
    "json_schema": {
        "name": "verdict",
        "schema": {
            "type": "object",
            "properties": {"is_true": {"type": "boolean"}},
            "required": ["is_true"],
            "additionalProperties": False,
        },
    },
}

SECRET_NAMES: Final = ("KEY", "TOKEN", "SECRET", "PASSWORD")
SECRET_CHARACTERS: Final = 6
"""Shorter values would be found in ordinary words."""
REDACTED: Final = "[redacted]"

Outcome = Literal["pass", "fail", "skipped", "info"]


class RefusedError(Exception):
    """The host answered with an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A streamed answer, with its times in seconds after the request."""

    text: str
    prompt_tokens: int
    tokens: int
    first_seconds: float
    last_seconds: float

    @property
    def tokens_per_second(self) -> float | None:
        """The speed after the first token; ``None`` if there is nothing to measure."""
        seconds = self.last_seconds - self.first_seconds
        return (self.tokens - 1) / seconds if self.tokens > 1 and seconds > 0 else None


class Host:
    """A host at ``url``, with one connection per request."""

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url).netloc

    def call(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the JSON of an answer; raises RefusedError for an error."""
        response = self._sent(path, body)
        answer: dict[str, Any] = json.loads(response.read())
        return answer

    def answer(self, model: str, content: str, **fields: Any) -> Answer:
        """Stream a chat, and return its answer with its times."""
        messages = [{"role": "user", "content": content}]
        options = {"stream": True, "stream_options": {"include_usage": True}, "temperature": 0}
        began = time.perf_counter()
        texts: list[str] = []
        times: list[float] = []
        usage: dict[str, int] = {}
        for chunk in self._chunks({"model": model, "messages": messages, **options, **fields}):
            usage = chunk.get("usage") or usage
            delta = chunk["choices"][0]["delta"] if chunk["choices"] else {}
            if delta.get("content") or delta.get("reasoning_content") or delta.get("tool_calls"):
                times.append(time.perf_counter() - began)
                texts.append(delta.get("content") or "")
        if not times:
            raise RefusedError("the answer is empty")
        return Answer(
            text="".join(texts),
            prompt_tokens=usage.get("prompt_tokens", 0),
            tokens=usage.get("completion_tokens", 0),
            first_seconds=times[0],
            last_seconds=times[-1],
        )

    def _chunks(self, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        for line in self._sent("/v1/chat/completions", body):
            data = line.decode().removeprefix("data: ").strip()
            if not line.startswith(b"data: ") or data == "[DONE]":
                continue
            chunk: dict[str, Any] = json.loads(data)
            if "error" in chunk:
                raise RefusedError(_reason(chunk))
            yield chunk

    def _sent(self, path: str, body: Mapping[str, Any] | None) -> HTTPResponse:
        connection = HTTPConnection(self._address, timeout=TIMEOUT_SECONDS)
        content = None if body is None else json.dumps(body)
        headers = {"Content-Type": "application/json"}
        connection.request("GET" if body is None else "POST", path, body=content, headers=headers)
        response = connection.getresponse()
        if response.status != 200:
            raise RefusedError(f"{response.status} {_reason(json.loads(response.read()))}")
        return response


def _reason(answer: Mapping[str, Any]) -> str:
    error = answer.get("error") or {}
    return f"{error.get('code')}: {error.get('message')}"


class Report:
    """Writes a row for each check as soon as it has a result."""

    def __init__(self) -> None:
        self.has_failed = False

    def row(self, name: str, outcome: Outcome, detail: str) -> None:
        self.has_failed |= outcome == "fail"
        shown = " ".join(detail.replace("|", "\\|").split())
        sys.stdout.write(f"| {name} | {outcome} | {shown} |\n")
        sys.stdout.flush()

    def check(self, name: str, run: Callable[[], tuple[Outcome, str]]) -> None:
        """Run a check; an error of the host, or of the connection to it, is its failure."""
        try:
            outcome, detail = run()
        except (RefusedError, HTTPException, OSError, ValueError, KeyError) as error:
            outcome, detail = "fail", f"{type(error).__name__}: {error}"
        self.row(name, outcome, detail)


@dataclass(frozen=True, slots=True)
class Checks:
    """The checks of one model; each returns its outcome and what was seen."""

    host: Host
    model: str

    def first_answer(self) -> tuple[Outcome, str]:
        answer = self.host.answer(self.model, QUESTION, max_tokens=128)
        return "pass", f"{_speed(answer)}; the answer begins: {answer.text[:200]!r}"

    def next_answer(self) -> tuple[Outcome, str]:
        return "pass", _speed(self.host.answer(self.model, f"{QUESTION} Use other words.", max_tokens=128))

    def long_prompt(self) -> tuple[Outcome, str]:
        answer = self.host.answer(self.model, LONG_QUESTION, max_tokens=32)
        speed = answer.prompt_tokens / answer.first_seconds
        return "pass", f"{answer.prompt_tokens} tokens read at {speed:.1f} tokens/s; {_speed(answer)}"

    def several_answers(self) -> tuple[Outcome, str]:
        began = time.perf_counter()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            questions = [f"{number}. {QUESTION}" for number in range(AT_ONCE)]
            answers = list(pool.map(lambda text: self.host.answer(self.model, text, max_tokens=64), questions))
        tokens = sum(answer.tokens for answer in answers)
        slowest = max(answer.first_seconds for answer in answers)
        speed = tokens / (time.perf_counter() - began)
        return "pass", f"{speed:.1f} tokens/s together; the slowest first token after {slowest:.3f} s"

    def tool_call(self, tool_choice: str) -> tuple[Outcome, str]:
        """Request a tool call; the model may decline one that is not required."""
        messages = [{"role": "user", "content": "What is the weather in Paris?"}]
        body = {"model": self.model, "messages": messages, "tools": [WEATHER], "tool_choice": tool_choice}
        answer = self.host.call("/v1/chat/completions", {**body, "max_tokens": 512, "temperature": 0})
        calls = answer["choices"][0]["message"].get("tool_calls") or []
        if not calls:
            return ("fail" if tool_choice == "required" else "info"), "no call"
        function = calls[0]["function"]
        city = json.loads(function["arguments"]).get("city")
        is_right = function["name"] == "get_weather" and isinstance(city, str)
        return ("pass" if is_right else "fail"), f"{function['name']}({function['arguments']})"

    def json_schema(self) -> tuple[Outcome, str]:
        messages = [{"role": "user", "content": "Is two greater than one? Answer in JSON."}]
        body = {"model": self.model, "messages": messages, "response_format": VERDICT, "max_tokens": 512}
        text = self.host.call("/v1/chat/completions", {**body, "temperature": 0})["choices"][0]["message"]["content"]
        value = json.loads(text)
        follows = isinstance(value, dict) and [*value] == ["is_true"] and isinstance(value["is_true"], bool)
        return ("pass" if follows else "fail"), str(text)

    def embeddings(self) -> tuple[Outcome, str]:
        answer = self.host.call("/v1/embeddings", {"model": self.model, "input": ["one text", "another text"]})
        vectors = [entry["embedding"] for entry in answer["data"]]
        is_right = len(vectors) == 2 and len(vectors[0]) == len(vectors[1]) > 0
        return ("pass" if is_right else "fail"), f"{len(vectors)} vectors of {len(vectors[0])} numbers"


def _speed(answer: Answer) -> str:
    speed = answer.tokens_per_second
    shown = "too few to measure" if speed is None else f"{speed:.1f} tokens/s"
    return f"first token after {answer.first_seconds:.3f} s, {answer.tokens} tokens, {shown}"


def check(host: Host, model: str, report: Report) -> None:
    """Check everything that the model supports."""
    state = next(each for each in host.call("/v1/models/status")["models"] if each["name"] == model)
    shown = ("engine", "engine_version", "quantization", "dtype", "context_length", "slots", "size_bytes")
    report.row("Model", "info", ", ".join(f"{name}: {state[name]}" for name in shown))
    report.row("Operations", "info", ", ".join(state["operations"]))
    report.row("Memory by pool", "info", json.dumps(state["memory_bytes"]))
    checks = Checks(host, model)
    for name, operation, run in (
        ("First answer", "chat", checks.first_answer),
        ("Next answer", "chat", checks.next_answer),
        ("Long prompt", "chat", checks.long_prompt),
        (f"{AT_ONCE} answers at once", "chat", checks.several_answers),
        ("Tool call, `auto`", "chat", lambda: checks.tool_call("auto")),
        ("Tool call, `required`", "chat", lambda: checks.tool_call("required")),
        ("JSON schema", "chat", checks.json_schema),
        ("Embeddings", "embeddings", checks.embeddings),
    ):
        if operation in state["operations"]:
            report.check(name, run)
        else:
            report.row(name, "skipped", f"the model has no operation {operation}")


def unload(host: Host, model: str) -> tuple[Outcome, str]:
    """Unload the model, and return how much memory that freed."""
    began = time.perf_counter()
    answer = host.call("/v1/models/unload", {"model_id": model})
    used = {pool: use["used_mb"] for pool, use in host.call("/v1/models/status")["memory"].items()}
    outcome: Outcome = "fail" if any(used.values()) else "pass"
    seconds = time.perf_counter() - began
    return outcome, f"{answer['memory_freed_mb']} MB freed in {seconds:.2f} s; MB still in use by pool: {used}"


def redacted(text: str, environment: Mapping[str, str]) -> str:
    """Return ``text`` without secrets (variables and options for keys, passwords in URLs) and the home directory."""
    secrets = {
        value
        for name, value in environment.items()
        if name.upper().endswith(SECRET_NAMES) and len(value) >= SECRET_CHARACTERS
    }
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    text = re.sub(r"(--[\w-]*key[ =])\S+", rf"\1{REDACTED}", text)
    text = re.sub(r"(?<=://)[^/\s@]+(?=@)", REDACTED, text)
    home = environment.get("HOME", "").rstrip("/")
    return text.replace(f"{home}/", "~/") if home else text


def main(action: str, url: str = "", model: str = "") -> int:
    if action == "redact":
        sys.stdout.write(redacted(sys.stdin.read(), os.environ))
        return 0
    report = Report()
    host = Host(url)
    if action == "check":
        check(host, model, report)
    else:
        report.check("Unload", lambda: unload(host, model))
    return int(report.has_failed)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
