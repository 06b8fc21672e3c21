"""OpenAI's chunks, as engines write them and as clients read them, and the events that they stand for.

A chunk becomes one piece of an answer and a piece becomes one chunk; what is read and written again has the same
fields, in an order of its own. Shape: https://platform.openai.com/docs/api-reference/chat/streaming, and for
completions .../completions/object.

What the host tells besides stands in extension fields of chunks whose delta is empty:

* ``modelhost.tool_call``: a call begins: ``id, name, arguments``;
* ``modelhost.tool_progress``: how far it is: ``id, progress, total, message``;
* ``modelhost.tool_log``: a server's remark while it works on a call: ``server, level, logger, data``;
* ``modelhost.tool_result``: it is over: ``id, name, server, tool, is_error, code, text, seconds``;
* ``modelhost.tool_cancelled``: the host has ended it: ``id, name``;
* ``modelhost.question``: somebody has to agree, or to tell a server something: ``id, kind, seconds`` and what about;
* ``modelhost.finish_details``, on the last piece: why the host ended the loop (``type``, ``message``);
* ``modelhost.queued``, before the answer: the request waits: ``position``, from 1;
* ``modelhost.loading``, likewise: its model is being loaded: ``progress``, 0 to 1, where its engine tells;
* ``modelhost.waiting_for_tools``, before all else: the request waits for MCP servers: ``servers, seconds``;
* ``modelhost.tools``, on the first piece: what the model did not get (``missing``: ``server, state`` of each).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modelhost.exchange.events import Reasoning, Refusal, Text

Chunk = dict[str, Any]

CALL: Final = "modelhost.tool_call"
PROGRESS: Final = "modelhost.tool_progress"
LOG: Final = "modelhost.tool_log"
RESULT: Final = "modelhost.tool_result"
CALL_ENDED: Final = "modelhost.tool_cancelled"
QUESTION: Final = "modelhost.question"
FINISH_DETAILS: Final = "modelhost.finish_details"
QUEUED: Final = "modelhost.queued"
LOADING: Final = "modelhost.loading"
WAITING: Final = "modelhost.waiting_for_tools"
TOOLS: Final = "modelhost.tools"
PROMPT_PROGRESS: Final = "prompt_progress"

COUNTS: Final = ("prompt_tokens", "completion_tokens", "total_tokens")
MAX_PIECES: Final = 4096
"""Calls, or choices, that one answer may have: those before it are made room for."""
CHAT: Final = "chat.completion.chunk"
COMPLETION: Final = "text_completion"
ENVELOPE_FIELDS: Final = frozenset({"id", "created", "model", "object", "system_fingerprint", "service_tier"})
REASONING: Final = "reasoning_content"
TEXTS: Final[Mapping[str, type[Text | Reasoning | Refusal]]] = {
    "content": Text,
    REASONING: Reasoning,
    "refusal": Refusal,
}
