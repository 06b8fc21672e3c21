"""What engines can do, and who does it: the engine itself, the host in its place, or nobody.

``docs/reference/engines.md`` is written from this, and ``tests/integration/engines`` tests all of it on every engine.

Of a JSON schema an engine enforces some keywords token by token; an answer is checked against all of them anyway. That
is said of the engines as modelhost sets them up: a ``llama-server`` or a build of llama.cpp without llguidance enforces
less, and a remote server what it likes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from modelhost.config.request_defaults import HIGHEST_TEMPERATURE

Provider = Literal["engine", "host", "refused"]
"""Who provides a feature. ``refused``: error 400, ``unsupported_parameter`` or ``unsupported_operation``."""

FEATURES: Final[Mapping[str, str]] = {
    "streaming": "`stream`: incremental answers",
    "stop": "`stop`: strings that end the answer, independent of token boundaries",
    "stop_token_ids": "`stop_token_ids`: tokens that end the answer",
    "min_tokens": "`min_tokens`: the minimum length of the answer",
    "seed": "`seed`: the same request gives the same answer",
    "cut_offs": "`top_k`, `top_p`, `min_p`",
    "min_tokens_to_keep": "`min_tokens_to_keep`: the minimum number of tokens after `min_p`",
    "penalties": "`frequency_penalty`, `presence_penalty`, `repetition_penalty`",
    "logit_bias": "`logit_bias`",
    "logprobs": "`logprobs`, `top_logprobs`",
    "echo": "completions with `echo`: the prompt before the answer; only the prompt with `max_tokens` 0",
    "prompt_logprobs": "`echo` with `logprobs`: log probabilities of the prompt's tokens",
    "suffix": "completions with `suffix`: text before other text, with a suitable model",
    "choices": "`n`: several choices, with a seed each",
    "usage": "`usage`, in streams if `stream_options` requests it",
    "running_usage": "`stream_options.continuous_usage_stats`: the tokens so far in each chunk",
    "tools": "`tools`: calls are parsed from the model's text",
    "forced_call": "`tool_choice` `required` or a named tool: enforced, with arguments that match their schema",
    "no_call": "`tool_choice` `none`: the model does not see the tools",
    "json_schema": "`response_format` `json_schema`: enforced [as far as the engine goes](#json-schemas), and checked",
    "json_object": "`response_format` `json_object`: the same",
    "structured": "`structured_outputs`, `guided_regex`, `guided_choice`: enforced token by token",
    "context_overflow": "a prompt that is too long: 400 `context_length_exceeded` with both token counts",
    "context_end": "`max_tokens` beyond the context: the answer ends at the context's end with `length`",
    "cancellation": "a client that disconnects: its work is cancelled",
    "unknown_field": "a field that the engine does not support: 400 `unsupported_parameter`",
    "tokenize": "`/tokenize` and `/detokenize`",
    "tokenize_messages": "`/tokenize` with `messages`: the tokens of a chat's prompt",
    "token_pieces": "`/tokenize` with `with_pieces`: the text of each token",
    "markers_as_text": "`/tokenize` with `parse_special` false: special tokens are text",
    "embeddings": "`/v1/embeddings`, with a suitable model",
    "rerank": "`/v1/rerank`, with a suitable model",
}
"""Features of requests, by a short name."""
KEYWORDS: Final[Mapping[str, str]] = {
    "values": "`type`, `enum`, `const`",
    "properties": "`properties`, `required`, `additionalProperties`",
    "required_undeclared": "`required` with names that are not in `properties`",
    "property_counts": "`minProperties`, `maxProperties`, if other properties are allowed",
    "pattern_properties": "`patternProperties`",
    "pattern_properties_beside": "`patternProperties` beside `properties`",
    "property_names": "`propertyNames`",
    "items": "`items`, `prefixItems`, `minItems`, `maxItems`",
    "unique_items": "`uniqueItems`, `contains`, `minContains`, `maxContains`",
    "lengths": "`minLength`, `maxLength`",
    "pattern": "`pattern`, including `\\d` `\\w` `\\s` and patterns without anchors",
    "pattern_and_length": "`pattern` beside a length",
    "pattern_looks": "`pattern` with lookarounds (`(?!...)`), backreferences or `\\b`",
    "format": "`format`: `date`, `time`, `date-time`, `email`, `uuid`, `ipv4`, `ipv6`, `uri`, `hostname` ...",
    "format_other": "other formats (`idn-hostname`, `regex` ...)",
    "bounds": "`minimum`, `maximum`, `exclusiveMinimum`, `exclusiveMaximum`, including fractions",
    "multiple_of": "`multipleOf`",
    "any_of": "`anyOf`",
    "one_of": "`oneOf` whose branches exclude one another",
    "one_of_overlapping": "`oneOf` whose branches overlap",
    "all_of": "`allOf`",
    "references": "`$ref`, including recursion",
    "negations": "`not`, `if`, `then`, `else`",
    "dependent": "`dependentRequired`, `dependentSchemas`",
}
"""Groups of keywords that engines treat alike, by a short name."""

EXACT: Final = "text, exactly"
COPIED: Final = "text, in the engine's copy"
LISTED: Final = "unprotected, except those in `special_token_list`"
"""What :attr:`Capabilities.contents` may be."""


LLGUIDANCE_LACKS: Final = frozenset(
    {
        *("property_names", "unique_items", "pattern_looks", "format_other"),
        *("one_of_overlapping", "negations", "dependent"),
    }
)
"""The keywords that llguidance does not enforce."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What one engine can do. It provides what is not in ``differs`` itself, except for what the host does for all."""

    title: str
    reads: str
    runs_on: str
    differs: Mapping[str, Provider] = field(default_factory=dict)
    cache_tokens: int = 1
    """Of a prompt that extends another one, fewer than this many cached tokens are evaluated again."""
    uses_generation_config: bool = True
    """Whether the defaults of requests come from the model's ``generation_config.json``."""
    reports_cached_tokens: bool = True
    """Whether usage reports the cached tokens of the prompt."""
    max_temperature: float = HIGHEST_TEMPERATURE
    """The highest ``temperature`` that it accepts."""
    reports_prompt_length: bool = True
    """Whether it reports the exact length of a prompt that is too long, or only a lower bound."""
    quantizes_by: str | None = None
    """The engine option that names a format to quantize the weights to, if there is one."""
    contents: str = COPIED
    """How it treats the names of special tokens in what users and tools write."""
    unenforced: frozenset[str] | None = LLGUIDANCE_LACKS
    """The keywords of JSON schemas (``KEYWORDS``) that it does not enforce; ``None``: that depends on the server."""

    def provider_of(self, feature: str) -> Provider:
        return self.differs.get(feature) or ALL.get(feature, "engine")


ALL: Final[Mapping[str, Provider]] = {"choices": "host", "no_call": "host", "unknown_field": "host"}
"""What the host does for every engine."""
TEXT_ONLY: Final[Mapping[str, Provider]] = {"embeddings": "refused", "rerank": "refused", "suffix": "refused"}
"""What engines that only generate text cannot do."""
