"""The messages of one chat, and how they are saved."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from modelhost.cli.answerer import Message


@dataclass(slots=True, kw_only=True)
class Conversation:
    """What was said so far; owned by one chat. A question without an answer is not part of it."""

    system: str | None = None
    turns: list[Message] = field(default_factory=list)

    def asked(self, question: str) -> list[Message]:
        """The messages to send for ``question``."""
        return [*self.messages(), {"role": "user", "content": question}]

    def add(self, question: str, answer: str) -> None:
        """Keep a question and its answer."""
        self.turns += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]

    def clear(self) -> None:
        """Forget what was said; the system message stays."""
        self.turns.clear()

    def messages(self) -> list[Message]:
        """All messages, the system message first."""
        return [*([{"role": "system", "content": self.system}] if self.system else []), *self.turns]

    def as_json(self) -> str:
        """The messages as a JSON list, as the chat completions API takes them."""
        return json.dumps(self.messages(), indent=2, ensure_ascii=False) + "\n"

    def as_markdown(self) -> str:
        """The messages for a person to read."""
        return "\n".join(f"**{message['role']}:**\n\n{message['content']}\n" for message in self.messages())
