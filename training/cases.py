"""Held-out cases, skill by skill: what is sent, and every reply that counts as right."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from training import chat, dialogues
from training.catalogue import CATALOGUE, real_request, tool_of
from training.dialogues import Dialogue
from training.tools import Call, Request, Tool, random_tool
from training.words import HELD_OUT

Message = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A prompt and what is expected: one of the texts, or exactly these calls."""

    messages: list[Message]
    tools: list[dict[str, object]]
    texts: tuple[str, ...] = ()
    calls: tuple[Call, ...] = ()


def talk(dialogue: Dialogue, exchange: chat.Exchange) -> Case:
    messages = [*dialogue.messages, {"role": "user", "content": exchange.user}]
    return Case(messages=messages, tools=dialogue.schemas(), texts=(exchange.reply,))


def calling(dialogue: Dialogue, text: str, calls: list[Call]) -> Case:
    messages = [*dialogue.messages, {"role": "user", "content": text}]
    return Case(messages=messages, tools=dialogue.schemas(), calls=tuple(calls))


def recall(rng: random.Random, tell: Callable) -> Case:
    """Something told, up to two turns of talk, and the question about it."""
    dialogue = dialogues.begin(rng, HELD_OUT)
    told, asked = tell(rng, HELD_OUT)
    dialogue.say(told)
    for _ in range(rng.randint(0, 2)):
        dialogue.say(chat.small_talk(rng))
    return talk(dialogue, asked)


def choosing(rng: random.Random, count: int, most: int = 3) -> Case:
    """One call, `count` tools to choose from, at most `most` parameters."""
    while True:
        dialogue = dialogues.begin(rng, HELD_OUT, count)
        tool = rng.choice(dialogue.tools)
        if len(tool.parameters) <= most:
            wanted = dialogues.request(rng, HELD_OUT, dialogue, tool)
            return calling(dialogue, wanted.text, [wanted.call])


def two_calls(rng: random.Random) -> Case:
    dialogue = dialogues.begin(rng, HELD_OUT, rng.randint(1, 4))
    return calling(dialogue, *dialogues.two_requests(rng, HELD_OUT, dialogue))


def answering(rng: random.Random, count: int) -> Case:
    """The reply after `count` results."""
    while True:
        dialogue = dialogues.begin(rng, HELD_OUT, rng.randint(1, 4))
        wanted = dialogues.request(rng, HELD_OUT, dialogue)
        text, calls = (wanted.text, [wanted.call]) if count == 1 else dialogues.two_requests(rng, HELD_OUT, dialogue)
        if len(calls) == count:
            dialogue.call(text, calls)
            dialogue.answer(rng, HELD_OUT)
            reply = dialogue.messages.pop()
            return Case(messages=dialogue.messages, tools=dialogue.schemas(), texts=(str(reply["content"]),))


def later(rng: random.Random) -> Case:
    """A call as the second or third turn of a dialogue with calls and results."""
    dialogue = dialogues.begin(rng, HELD_OUT, rng.randint(2, 4))
    for _ in range(rng.randint(1, 2)):
        wanted = dialogues.request(rng, HELD_OUT, dialogue)
        dialogue.call(wanted.text, [wanted.call])
        dialogue.answer(rng, HELD_OUT)
    wanted = dialogues.request(rng, HELD_OUT, dialogue)
    return calling(dialogue, wanted.text, [wanted.call])


def no_tool(rng: random.Random) -> Case:
    dialogue = dialogues.begin(rng, HELD_OUT, rng.randint(1, 4))
    return talk(dialogue, dialogues.unfit(rng, HELD_OUT, dialogue))


def chatting(rng: random.Random) -> Case:
    """Ordinary talk although tools are listed."""
    dialogue = dialogues.begin(rng, HELD_OUT, rng.randint(1, 4))
    return talk(dialogue, rng.choice((chat.small_talk(rng), chat.identity(rng), chat.greeting(rng, HELD_OUT))))


def ordinary(rng: random.Random) -> Case:
    """A well-known tool and an everyday request for it, with unseen values, beside up to three invented tools."""
    entry = rng.choice(CATALOGUE[:20])
    tool = tool_of(rng, entry)
    wanted: Request = real_request(rng, tool, entry, HELD_OUT)
    dialogue = dialogues.begin(rng, HELD_OUT)
    others: list[Tool] = [random_tool(rng, HELD_OUT) for _ in range(rng.randint(0, 3))]
    dialogue.tools = rng.sample([tool, *others], len(others) + 1)
    return calling(dialogue, wanted.text, [wanted.call])


def bare(rng: random.Random) -> Dialogue:
    return dialogues.begin(rng, HELD_OUT)


SKILLS: dict[str, Callable[[random.Random], Case]] = {
    "greeting": lambda rng: talk(bare(rng), chat.greeting(rng, HELD_OUT)),
    "what it is": lambda rng: talk(bare(rng), chat.identity(rng)),
    "small talk": lambda rng: talk(bare(rng), chat.small_talk(rng)),
    "remembers a name": lambda rng: recall(rng, chat.introduction),
    "remembers a fact": lambda rng: recall(rng, chat.fact),
    "was not told": lambda rng: talk(bare(rng), chat.not_told(rng, HELD_OUT)),
    "repeats a phrase": lambda rng: talk(bare(rng), chat.repeat(rng, HELD_OUT)),
    "counts": lambda rng: talk(bare(rng), chat.count(rng)),
    "does not know": lambda rng: talk(bare(rng), chat.unknown(rng, HELD_OUT)),
    "well-known tools": ordinary,
    "one tool": lambda rng: choosing(rng, 1),
    "two tools": lambda rng: choosing(rng, 2),
    "four tools": lambda rng: choosing(rng, 4),
    "eight to fourteen tools": lambda rng: choosing(rng, rng.randint(8, 14)),
    "later in a dialogue": later,
    "two calls": two_calls,
    "no tool fits": no_tool,
    "talk with tools listed": chatting,
    "answers from one result": lambda rng: answering(rng, 1),
    "answers from two results": lambda rng: answering(rng, 2),
}


def cases(skill: str, count: int) -> list[Case]:
    """The same cases at every call."""
    rng = random.Random(f"nano-evaluate-{skill}")
    return [SKILLS[skill](rng) for _ in range(count)]
