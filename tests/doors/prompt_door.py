"""``POST /``."""

from __future__ import annotations

from typing import Any, ClassVar

from tests.doors.door import HttpDoor, Lacks, Refused
from tests.doors.openai_doors import WHOLE, chat_fields_of
from tests.doors.talk import Ask, Failed, Outcome


class Prompt(HttpDoor):
    """A prompt in, a text out, and nothing else."""

    name = "prompt"
    lacks: ClassVar[Lacks] = {
        **WHOLE,
        "codes": "an error is one sentence",
        "finish": "the answer is the text alone",
        "usage": "the answer is the text alone",
        "reasoning": "the answer is the text alone",
        "host calls": "the answer is the text alone",
        "limit": Refused(None, '"max_tokens" is unknown here'),
        "stop": Refused(None, '"stop" is unknown here'),
        "model": Refused(None, '"model" is unknown here'),
        "sessions": Refused(None, '"session_id" is unknown here'),
        "schema": Refused(None, '"response_format" is unknown here'),
        "tools": Refused(None, '"tools" is unknown here'),
    }

    def failed(self, status: int, answer: Any) -> Failed:
        (message,) = answer.values()
        assert list(answer) == ["Error"]
        return Failed(None, message, status)

    async def put(self, ask: Ask, got: Outcome) -> None:
        answer = await self.whole("/", {"prompt": ask.said, **chat_fields_of(ask)})
        assert list(answer) == ["response"]
        got.pieces.append(answer["response"])
