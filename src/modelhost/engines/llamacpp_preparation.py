"""What a worker of llama.cpp has to be asked before a request can be put into its words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modelhost.engines.base import Line, Ready
from modelhost.engines.llamacpp_ends import MARK, stop_grammar
from modelhost.engines.llamacpp_features import LLGUIDANCE
from modelhost.engines.llamacpp_probe import GrammarProbe
from modelhost.engines.token_limits import STOP_TOKEN_IDS
from modelhost.errors import InvalidRequest, UnsupportedParameter

NOT_TEXT: Final = "\ufffd"
"""In the text of a token that is a part of a character."""
OF_TEMPLATES: Final = ("messages", "tools", "add_generation_prompt", "continue_final_message", "chat_template_kwargs")
"""What a prompt is made of."""


class LlamaCppPreparation:
    """The :class:`~modelhost.engines.base.Preparation` of llama.cpp."""

    def __init__(self) -> None:
        self._probe = GrammarProbe()

    async def check_grammar(self, line: Line, body: Mapping[str, Any], ready: Ready) -> None:
        await self._probe.check(line, body, ready)

    async def with_stops(self, line: Line, body: Mapping[str, Any], ready: Ready) -> dict[str, Any]:
        if LLGUIDANCE not in ready.features:
            raise UnsupportedParameter(
                "stop_token_ids: this build of llama.cpp has no llguidance, which they need; the wheel that modelhost "
                "comes with has it. Text that ends an answer goes into stop.",
                param=STOP_TOKEN_IDS,
            )
        rest = dict(body)
        ids = sorted(set(rest.pop(STOP_TOKEN_IDS)))
        vocabulary = (await line.ask("/v1/models"))["data"][0]["meta"]["n_vocab"]
        if ids[-1] >= vocabulary:
            message = f"stop_token_ids: {ids[-1]} is no token of this model, which has {vocabulary}."
            raise InvalidRequest(message, param=STOP_TOKEN_IDS)
        texts = [(await line.ask("/detokenize", {"tokens": [each]}))["content"] for each in ids]
        stop = rest.get("stop") or []
        marked = [f"{text}{MARK}" for text in texts if text and NOT_TEXT not in text]
        rest["stop"] = [*([stop] if isinstance(stop, str) else stop), MARK, *marked]
        rest["grammar"] = stop_grammar(ids, vocabulary)
        return rest

    async def with_prompt(self, line: Line, body: Mapping[str, Any]) -> dict[str, Any]:
        asked = {name: body[name] for name in OF_TEMPLATES if name in body}
        prompt = (await line.ask("/apply-template", asked))["prompt"]
        rest = {name: value for name, value in body.items() if name not in OF_TEMPLATES}
        # As the server tokenizes the prompts of chats.
        return {**rest, "content": prompt, "add_special": True, "parse_special": True}
