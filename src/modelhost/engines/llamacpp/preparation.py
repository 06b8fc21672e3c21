"""Requests to a worker of llama.cpp that prepare another request.

One of them finds out whether a grammar of llguidance can be enforced, since llama.cpp silently drops one that cannot be
compiled. It is a short completion. Its grammar requires a mark, then what the grammar in question requires, then a mark
again, while the end of the answer is made as likely as possible: a model without constraints ends at once, a grammar
that no text follows ends after the first mark, and any other grammar yields two tokens.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

from modelhost.engines.base import INPUT_GRAMMAR, LARK_SYNTAX, EngineClient
from modelhost.engines.launch import Ready
from modelhost.engines.llamacpp.ends import MARK, stop_grammar
from modelhost.engines.llamacpp.features import LLGUIDANCE
from modelhost.engines.token_limits import STOP_TOKEN_IDS
from modelhost.errors import EngineError, InvalidRequest, UnsupportedParameter

NOT_TEXT: Final = "\ufffd"
"""The text of a token that is a part of a character contains it."""
OF_TEMPLATES: Final = ("messages", "tools", "add_generation_prompt", "continue_final_message", "chat_template_kwargs")
"""The fields that a prompt is rendered from."""
INPUT_TOKENS: Final = "/v1/chat/completions/input_tokens"
NO_SUCH_PATH: Final = 404


class LlamaCppPreparation:
    """The :class:`~modelhost.engines.base.Preparation` of llama.cpp."""

    fields = frozenset({STOP_TOKEN_IDS, "grammar", INPUT_GRAMMAR})

    def __init__(self) -> None:
        self._probe = GrammarProbe()

    async def prepared(self, client: EngineClient, body: Mapping[str, Any], ready: Ready) -> dict[str, Any]:
        await self._probe.check(client, body, ready)
        return await self._with_stops(client, body, ready) if STOP_TOKEN_IDS in body else dict(body)

    async def _with_stops(self, client: EngineClient, body: Mapping[str, Any], ready: Ready) -> dict[str, Any]:
        if LLGUIDANCE not in ready.features:
            raise UnsupportedParameter(
                "stop_token_ids: this build of llama.cpp has no llguidance, which they need; the wheel that modelhost "
                "comes with has it. Text that ends an answer goes into stop.",
                param=STOP_TOKEN_IDS,
            )
        rest = dict(body)
        ids = sorted(set(rest.pop(STOP_TOKEN_IDS)))
        vocabulary = (await client.fetch("/v1/models"))["data"][0]["meta"]["n_vocab"]
        if ids[-1] >= vocabulary:
            message = f"stop_token_ids: {ids[-1]} is no token of this model, which has {vocabulary}."
            raise InvalidRequest(message, param=STOP_TOKEN_IDS)
        texts = [(await client.fetch("/detokenize", {"tokens": [each]}))["content"] for each in ids]
        stop = rest.get("stop") or []
        marked = [f"{text}{MARK}" for text in texts if text and NOT_TEXT not in text]
        rest["stop"] = [*([stop] if isinstance(stop, str) else stop), MARK, *marked]
        rest["grammar"] = stop_grammar(ids, vocabulary)
        return rest

    async def tokens_with_media(self, client: EngineClient, body: Mapping[str, Any]) -> int | None:
        contents = (message.get("content") for message in body.get("messages", ()))
        parts = (part for content in contents if isinstance(content, list) for part in content)
        if all(part["type"] == "text" for part in parts):
            return None
        request = {name: body[name] for name in OF_TEMPLATES if name in body}
        try:
            count: int = (await client.fetch(INPUT_TOKENS, request))["input_tokens"]
        except EngineError as error:
            if error.details.get("status") == NO_SUCH_PATH:  # in older versions
                return None
            raise
        return count

    async def with_prompt(self, client: EngineClient, body: Mapping[str, Any]) -> dict[str, Any]:
        if "messages" not in body:
            return dict(body)
        request = {name: body[name] for name in OF_TEMPLATES if name in body}
        prompt = (await client.fetch("/apply-template", request))["prompt"]
        rest = {name: value for name, value in body.items() if name not in OF_TEMPLATES}
        # The server tokenizes the prompts of chats with these.
        return {**rest, "content": prompt, "add_special": True, "parse_special": True}


BEGINNING: Final = "%llguidance"
RULE: Final = "grammar_in_question"
REMEMBERED: Final = 256
"""The number of grammars whose results are kept."""
LIKELY: Final = 100
LARK_TOKEN: Final = re.compile(r'"(?:\\.|[^"\\])*"|/(?:\\.|[^/\\\n])+/|(?:#|//)[^\n]*|[A-Za-z_][\w-]*')
"""Strings, regular expressions, comments and names."""


class GrammarProbe:
    """Checks grammars at workers, each of them once."""

    def __init__(self) -> None:
        self._verdicts: OrderedDict[tuple[str, str], bool] = OrderedDict()
        """By worker and grammar."""

    async def check(self, client: EngineClient, body: Mapping[str, Any], ready: Ready) -> None:
        """Check the grammar of ``body``, if it is one of llguidance.

        Raises:
            InvalidRequest: the worker would ignore it.
            ModelhostError: as :meth:`EngineClient.fetch`.
        """
        if LLGUIDANCE not in ready.features:
            return
        if (wanted := body.get(INPUT_GRAMMAR)) is not None:
            grammar: Any = f"{BEGINNING} {{}}\n{wanted['definition']}"
            whose, param = f'tools: the Lark grammar of "{wanted["name"]}"', "tools"
        else:
            grammar, whose, param = body.get("grammar"), "grammar: the answer's", "grammar"
        if not isinstance(grammar, str) or not grammar.startswith(BEGINNING):
            return
        if not await self._binds(client, grammar, ready.url):
            raise InvalidRequest(f"{whose} is none that llguidance can use: {LARK_SYNTAX}", param=param)

    async def _binds(self, client: EngineClient, grammar: str, url: str) -> bool:
        key = url, grammar
        verdict = self._verdicts.get(key)
        if verdict is None:
            verdict = await _is_obeyed(client, grammar)
            self._verdicts[key] = verdict
            if len(self._verdicts) > REMEMBERED:
                self._verdicts.popitem(last=False)
        return verdict


async def _is_obeyed(client: EngineClient, grammar: str) -> bool:
    named = (await client.fetch("/props")).get("eos_token") or ""
    ends = (await client.fetch("/tokenize", {"content": named, "parse_special": True}))["tokens"]
    has_end = len(ends) == 1
    answer = await client.fetch(
        "/completion",
        {
            "prompt": ends or MARK,
            "n_predict": 2,
            "temperature": 0,
            "cache_prompt": False,
            "logit_bias": [[ends[0], LIKELY]] if has_end else [],
            "grammar": probe_grammar(grammar),
        },
    )
    is_obeyed: bool = answer["content"].startswith(MARK)
    # If the grammar itself names the end of the answer, ending early does not mean that nothing is enforced.
    may_end = not has_end or "<" in LARK_TOKEN.sub("", grammar)
    return is_obeyed and (may_end or answer["stop_type"] == "limit")


def probe_grammar(grammar: str) -> str:
    """Return a grammar that requires a text of ``grammar`` between two marks."""
    first, _, rules = grammar.partition("\n")
    return f'{first}\nstart: "\\u0001" {RULE} "\\u0001"\n{with_renamed_start(RULE, rules)}'


def with_renamed_start(name: str, rules: str) -> str:
    """Return ``rules`` with the start rule, which other rules may use, renamed to ``name``."""
    return LARK_TOKEN.sub(lambda found: name if found[0] == "start" else found[0], rules)
