"""What mistral.rs can that the others cannot, and what its library needs help with; run by ``make test-engines``."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelhost.engines.environments import FOLDER
from tests.integration.engines.served import NANO_HF, TOOLS, WEATHER, WHO, Asking
from tests.support.serving import ServedHost, ServeFailed

StartHost = Callable[..., ServedHost]
ANSWER = "I am modelhost-nano, a tiny demonstration model."
BEGINNING = "<|endoftext|>"


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data directory with the environments that are installed."""
    (tmp_path / FOLDER).symlink_to(Path(os.environ["MODELHOST_TEST_ENGINES"]) / FOLDER)
    return tmp_path


@pytest.mark.promise("mistralrs.models.gguf")
def test_a_gguf_file_is_served_too(start_host: StartHost, data_dir: Path) -> None:
    asking = Asking(start_host(engine="mistralrs", data_dir=str(data_dir), context_length=512, slots=4))
    assert asking.text() == ANSWER
    (call,) = asking.chat(WEATHER, tools=TOOLS)["choices"][0]["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"city": "Paris"}


@pytest.mark.promise("mistralrs.models.quantization")
@pytest.mark.parametrize("form", ["Q8_0", "q4k"])
def test_weights_are_quantized_while_they_are_loaded(start_host: StartHost, data_dir: Path, form: str) -> None:
    # Without the engine's name: no other quantizes. Without its Python: the environment is remembered.
    host = start_host(model=str(NANO_HF), engine_options={"isq": form}, data_dir=str(data_dir), slots=8)
    asking = Asking(host)
    alone = asking.text(max_tokens=20)
    assert alone
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda _: asking.chat(WHO, max_tokens=20)["usage"]["prompt_tokens"], range(16)))
    assert len(set(answers)) == 1


def test_a_text_begins_once(start_host: StartHost, data_dir: Path) -> None:
    """The tokenizer puts its beginning before every text, and so does the template, as those of Llama models do."""
    directory = data_dir / "begun"
    shutil.copytree(NANO_HF, directory)
    tokenizer = json.loads((directory / "tokenizer.json").read_text())
    single = [{"SpecialToken": {"id": BEGINNING, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    special = {BEGINNING: {"id": BEGINNING, "ids": [0], "tokens": [BEGINNING]}}
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": special,
    }
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer))
    config = json.loads((directory / "tokenizer_config.json").read_text())
    (directory / "tokenizer_config.json").write_text(json.dumps({**config, "bos_token": BEGINNING}))
    template = directory / "chat_template.jinja"
    template.write_text("{{ bos_token }}" + template.read_text())
    settings = {"engine": "mistralrs", "data_dir": str(data_dir), "context_length": 512, "slots": 1}
    plain = Asking(start_host(model=str(NANO_HF), **settings)).chat()["usage"]["prompt_tokens"]
    begun = Asking(start_host(model=str(directory), **settings))
    assert begun.chat()["usage"]["prompt_tokens"] == plain + 1
    tokens = begun.post("/tokenize", {"content": "I am", "add_special": True}).json()["tokens"]
    body = {"prompt": tokens, "max_tokens": 1}
    assert begun.post("/v1/completions", body).json()["usage"]["prompt_tokens"] == len(tokens)


def test_tokens_that_are_not_those_of_their_text_are_refused(start_host: StartHost, data_dir: Path) -> None:
    host = start_host(engine="mistralrs", model=str(NANO_HF), data_dir=str(data_dir), slots=1)
    letters = list(b"model")  # a token each, where the tokenizer has one for the word
    answer = host.http.post("/v1/completions", json={"prompt": letters, "max_tokens": 1})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "unsupported_parameter", "prompt")


def test_a_format_that_is_none_is_refused_before_the_start(start_host: StartHost, data_dir: Path) -> None:
    with pytest.raises(ServeFailed, match="there is no format Q9"):
        start_host(model=str(NANO_HF), engine_options={"isq": "Q9"}, data_dir=str(data_dir))
