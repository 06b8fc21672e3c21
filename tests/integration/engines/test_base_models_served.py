"""Base models, whose files hold no chat template: every engine makes the same text of a conversation for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.engines.served import NANO_HF, Asking, Served
from tests.support.base_models import MESSAGES, PLAIN, base_directory, older_directory
from tests.support.serving import ServedHost


@pytest.fixture(scope="module")
def base(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    """A host of one; of the engines that read such directories."""
    if served.model != str(NANO_HF):
        pytest.skip("it reads no directory")
    directory = base_directory(tmp_path_factory.mktemp("base"))
    with ServedHost(**{**served.host_settings, "model": str(directory), "load_timeout": 300}) as host:
        yield Asking(host)


@pytest.mark.promise("vllm-mcp.models.base")
def test_a_chat_is_answered_as_the_lines_of_it_are_completed(base: Asking) -> None:
    tokens = base.post("/tokenize", {"content": PLAIN, "add_special": True}).json()["tokens"]
    assert tokens[0] == 0
    chat = base.chat(MESSAGES, max_tokens=12)
    completion = base.post("/v1/completions", {"prompt": PLAIN, "max_tokens": 12, "temperature": 0}).json()
    assert chat["usage"]["prompt_tokens"] == completion["usage"]["prompt_tokens"] == len(tokens)
    assert chat["choices"][0]["message"]["content"] == completion["choices"][0]["text"]


def test_its_answer_ends_where_it_begins_to_speak_for_the_user(base: Asking) -> None:
    # Only these tokens are written, and as much in favour of each other the tiny model writes them in this order.
    bias = {str(_token(base, text)): value for text, value in (("\n", 81.6), ("user", 80), (":", 80.9))}
    limits = {"max_tokens": 8, "logit_bias": bias, "temperature": 0}
    completion = base.post("/v1/completions", {"prompt": PLAIN, **limits}).json()["choices"][0]
    assert completion["text"].startswith("user:user\nuser:")
    for more in ({}, {"stop": "never"}, {"stop": ["never", "ever"]}):
        choice = base.chat(MESSAGES, **limits, **more)["choices"][0]
        assert (choice["message"]["content"], choice["finish_reason"]) == ("user:user", "stop")
    assert base.text(MESSAGES, **limits, stop="s") == "u"


@pytest.mark.promise("vllm-mcp.models.base")
@pytest.mark.parametrize("architecture", ["gpt2", "opt"])
def test_models_from_before_there_were_templates_chat(served: Served, tmp_path: Path, architecture: str) -> None:
    if served.engine != "transformers":
        pytest.skip("it does not have both, or takes minutes to start")
    directory = older_directory(tmp_path, architecture)
    with ServedHost(**{**served.host_settings, "model": str(directory), "load_timeout": 300}) as host:
        asking = Asking(host)
        chat = asking.chat(MESSAGES, max_tokens=4, ignore_eos=True)
        tokens = asking.post("/tokenize", {"content": PLAIN, "add_special": True}).json()["tokens"]
    assert (chat["usage"]["prompt_tokens"], chat["usage"]["completion_tokens"]) == (len(tokens), 4)


def _token(base: Asking, text: str) -> int:
    (token,) = base.post("/tokenize", {"content": text}).json()["tokens"]
    assert isinstance(token, int)
    return token
