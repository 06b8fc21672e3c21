"""Base models, whose files hold no chat template: what the real engine makes of a conversation for them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import gguf
import pytest

from modelhost.config.settings import Settings
from modelhost.engines.mistralrs.template import TemplateReader
from modelhost.engines.prompting import STOPS, bundled_template
from modelhost.engines.worker.template import ChatTemplate
from modelhost.models.files.gguf import read_header
from modelhost.models.residency.collection import ModelCollection
from modelhost.models.resolve.locate import locate
from modelhost.workers.worker import Worker
from tests.support.gguf_files import write_model

MESSAGES = [
    {"role": "system", "content": "Be kind. "},
    {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
    {"role": "assistant", "content": " Yo"},
    {"role": "user", "content": "More"},
]
PLAIN = "system: Be kind.\nuser: Hi\nassistant: Yo\nuser: More\nassistant:"


@pytest.fixture(scope="module")
def base_nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nano without its template: it can count, and knows nothing of roles."""
    nano = locate(None).path
    assert nano is not None
    reader = gguf.GGUFReader(nano)
    path = tmp_path_factory.mktemp("base") / "base-nano.gguf"
    writer = gguf.GGUFWriter(path, "unset")
    writer.kv_data = [{}]
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "tokenizer.chat_template":
            kind = field.types[0]
            writer.add_key_value(field.name, field.contents(), kind, field.types[-1] if len(field.types) > 1 else None)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_shape=tensor.data.shape, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert read_header(path).chat_template is None
    return path


@asynccontextmanager
async def worker_of(model: Path | None, **settings: Any) -> AsyncIterator[Worker]:
    collection = await ModelCollection.start(Settings(model=str(model) if model else None, threads=1, **settings))
    try:
        async with collection.scheduler.lease(collection.find(None)) as worker:
            yield worker
    finally:
        await collection.stop(0)


async def _prompt(worker: Worker, **body: Any) -> str:
    prompt: str = (await worker.fetch("/apply-template", {"messages": MESSAGES, **body}))["prompt"]
    return prompt


@pytest.mark.promise("vllm-mcp.models.base")
async def test_its_prompt_is_the_lines_of_the_conversation(base_nano: Path) -> None:
    async with worker_of(base_nano) as worker:
        assert await _prompt(worker) == PLAIN
        assert await _prompt(worker, add_generation_prompt=False) == PLAIN.removesuffix("assistant:")
        body = {"messages": MESSAGES, "max_tokens": 8, "temperature": 0}
        answer = await worker.call("chat", body)
        assert answer["usage"]["completion_tokens"] > 0
        tokens = await worker.fetch("/tokenize", {"content": PLAIN, "add_special": True})
        assert answer["usage"]["prompt_tokens"] == len(tokens["tokens"])


async def test_its_answer_ends_where_it_begins_to_speak_for_the_user(base_nano: Path) -> None:
    # A grammar makes sure that it does.
    body = {"messages": MESSAGES, "max_tokens": 40, "grammar": 'root ::= " Yes" "\\nuser: And?" "\\n"'}
    async with worker_of(base_nano) as worker:
        for more in ({}, {"stop": "never"}, {"stop": ["never", "ever"]}):
            (choice,) = (await worker.call("chat", {**body, **more}))["choices"]
            assert (choice["message"]["content"], choice["finish_reason"]) == (" Yes", "stop")
        (choice,) = (await worker.call("chat", {**body, "stop": ["es"]}))["choices"]
        assert choice["message"]["content"] == " Y"
        completion = {"prompt": PLAIN, "max_tokens": 40, "grammar": body["grammar"]}
        (choice,) = (await worker.call("completions", completion))["choices"]
        assert choice["text"].startswith(" Yes\nuser: And?")


@pytest.mark.parametrize("name", STOPS)
async def test_a_template_that_comes_with_modelhost_is_rendered_as_by_other_engines(name: str) -> None:
    reader = TemplateReader(bundled_template(name), {"eos_token": "<|im_end|>"})
    call = {"id": "a1B2c3D4e", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    called = [*MESSAGES[1:2], {"role": "assistant", "content": None, "tool_calls": [call]}]
    called += [{"role": "tool", "tool_call_id": "a1B2c3D4e", "content": "two"}]
    parameters = {"type": "object", "properties": {"a": {"type": "integer"}}}
    tools = [{"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": parameters}}]
    bodies: list[dict[str, Any]] = [{"messages": MESSAGES}]
    if "tools" in bundled_template(name):
        bodies.append({"messages": called, "tools": tools})
    async with worker_of(None, chat_template=name) as worker:
        assert worker.ready.chat_stops == STOPS[name]
        for body in bodies:
            shown = ChatTemplate(reader, None, "nano").render(body)
            assert (await worker.fetch("/apply-template", body))["prompt"] == shown
            answer = await worker.call("chat", {**body, "max_tokens": 4, "temperature": 0})
            assert answer["usage"]["completion_tokens"] > 0


async def test_a_template_that_is_given_or_its_own_is_used_as_it_is(base_nano: Path, tmp_path: Path) -> None:
    template = "{% for m in messages %}[{{ m.role }} {{ m.content }}]{% endfor %}"
    async with worker_of(base_nano, chat_template=template) as worker:
        assert await _prompt(worker) == "[system Be kind. ][user Hi][assistant  Yo][user More]"
        assert worker.ready.chat_stops == ()
    for model in (None, write_model(tmp_path / "own.gguf")):
        async with worker_of(model) as worker:
            assert "<|im_start|>user\nMore<|im_end|>" in await _prompt(worker)
            assert worker.ready.chat_stops == ()
