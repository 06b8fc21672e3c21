"""Hugging Face's chat templates, rendered without ``transformers``, which this worker's environment does not have.

https://huggingface.co/docs/transformers/chat_templating describes what a template may use.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token")
"""The special tokens that templates may use by name."""


class TemplateReader:
    """The part of a tokenizer of ``transformers`` that :class:`~modelhost.engines.worker.template.ChatTemplate`
    uses."""

    def __init__(self, chat_template: str | None, special: Mapping[str, str]) -> None:
        self.chat_template = chat_template
        self._special = special
        self._environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
        )
        self._environment.filters["tojson"] = _to_json
        self._environment.globals["raise_exception"] = _raise
        self._environment.globals["strftime_now"] = lambda form: datetime.now().astimezone().strftime(form)

    def apply_chat_template(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        chat_template: str,
        continue_final_message: bool,
        tokenize: bool,
        **variables: Any,
    ) -> str:
        """Return ``messages`` as text.

        Raises:
            jinja2.TemplateError: the template is not valid, or rejects them.
            ValueError: the message to be continued is not in the text.
        """
        assert not tokenize
        template = self._environment.from_string(chat_template)
        text = template.render(messages=messages, documents=None, **{**self._special, **variables})
        return _cut(text, str(messages[-1]["content"])) if continue_final_message else text


def special_tokens(directory: Path) -> dict[str, str]:
    """Return the texts of the special tokens of the model at ``directory``; empty for a GGUF file."""
    file = directory / "tokenizer_config.json"
    if not file.is_file():
        return {}
    values = json.loads(file.read_bytes())
    found = {name: values.get(name) for name in SPECIAL}
    return {
        name: value["content"] if isinstance(value, dict) else value
        for name, value in found.items()
        if value is not None
    }


def _cut(text: str, final: str) -> str:
    """Return ``text`` up to the end of ``final``, its last message."""
    start = text.rfind(final.strip())
    if start < 0:
        raise ValueError("the template does not show the message that is to be continued")
    whole = final.lstrip()
    return text[: start + len(whole if text.startswith(whole, start) else final.strip())]


def _to_json(value: Any, ensure_ascii: bool = False, **layout: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, **layout)


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)
