"""Whole dialogues: tools, requests, calls, results and talk, put together at random from the other modules."""

import json
import random
from dataclasses import dataclass, field

from training import chat
from training.catalogue import Entry, real_request, real_tool
from training.results import result
from training.tools import Call, Request, Tool, ask, random_tool
from training.values import value
from training.words import Pools

Message = dict[str, object]


@dataclass(slots=True, kw_only=True)
class Dialogue:
    """Messages and tools in OpenAI's form, growing turn by turn."""

    messages: list[Message] = field(default_factory=list)
    tools: list[Tool] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)

    def say(self, exchange: chat.Exchange) -> None:
        self.messages += [{"role": "user", "content": exchange.user}, {"role": "assistant", "content": exchange.reply}]

    def call(self, text: str, calls: list[Call]) -> None:
        """A user's request and the assistant's calls."""
        entries = [
            {
                "id": f"call_{len(self.messages)}_{index}",
                "type": "function",
                "function": {"name": c.name, "arguments": json.dumps(c.arguments, ensure_ascii=False)},
            }
            for index, c in enumerate(calls)
        ]
        self.messages += [
            {"role": "user", "content": text},
            {"role": "assistant", "content": None, "tool_calls": entries},
        ]

    def answer(self, rng: random.Random, pools: Pools) -> None:
        """Results for the calls of the last message, and the reply that passes them on."""
        replies = []
        for entry in self.messages[-1]["tool_calls"]:
            outcome = result(rng, pools)
            self.messages.append({"role": "tool", "tool_call_id": entry["id"], "content": outcome.text})
            replies.append(outcome.reply)
        self.messages.append({"role": "assistant", "content": " ".join(replies)})

    def schemas(self) -> list[dict[str, object]]:
        return [tool.openai() for tool in self.tools]


def begin(rng: random.Random, pools: Pools, tool_count: int = 0, most: int = 3) -> Dialogue:
    """A dialogue with that many different tools and, in four of ten, a system message."""
    dialogue = Dialogue()
    if rng.random() < 0.4:
        dialogue.messages.append({"role": "system", "content": rng.choice(chat.SYSTEMS)})
    add_tools(rng, pools, dialogue, tool_count, most)
    return dialogue


def known(rng: random.Random, pools: Pools, tool_count: int) -> Dialogue:
    """A dialogue whose tools all come from the catalogue."""
    dialogue = begin(rng, pools)
    while len(dialogue.tools) < tool_count:
        tool, entry = real_tool(rng)
        if not any(set(entry.names) & set(e.names) for e in dialogue.entries.values()):
            dialogue.tools.append(tool)
            dialogue.entries[tool.name] = entry
    return dialogue


def add_tools(rng: random.Random, pools: Pools, dialogue: Dialogue, count: int, most: int) -> None:
    """Adds tools until there are `count`, invented ones with at most `most` parameters. Held-out dialogues draw only
    tools of unseen words."""
    share_real = 0.0 if pools.is_test else rng.choice((0.0, 0.0, 0.5, 1.0))
    while len(dialogue.tools) < count:
        entry = None
        if rng.random() < share_real:
            tool, entry = real_tool(rng)
            if any(set(entry.names) & set(e.names) for e in dialogue.entries.values()):
                continue
        else:
            like = rng.choice(dialogue.tools) if dialogue.tools and rng.random() < 0.4 else None
            tool = random_tool(rng, pools, like, most)
            if any(tool.noun == t.noun and set(tool.verbs) & set(t.verbs) for t in dialogue.tools):
                continue
        if tool.name in [t.name for t in dialogue.tools]:
            continue
        dialogue.tools.append(tool)
        if entry:
            dialogue.entries[tool.name] = entry
    rng.shuffle(dialogue.tools)


def request(rng: random.Random, pools: Pools, dialogue: Dialogue, tool: Tool | None = None) -> Request:
    """A request for one of the dialogue's tools."""
    tool = tool or rng.choice(dialogue.tools)
    entry = dialogue.entries.get(tool.name)
    return real_request(rng, tool, entry, pools) if entry else ask(rng, tool, pools)


def two_requests(rng: random.Random, pools: Pools, dialogue: Dialogue) -> tuple[str, list[Call]]:
    """One sentence that wants two calls: the same tool for two values, or two requests in a row."""
    first = request(rng, pools, dialogue)
    tool = next(t for t in dialogue.tools if t.name == first.call.name)
    given = list(first.call.arguments.items())
    if rng.random() < 0.5 and len(given) == 1 and isinstance(given[0][1], str) and first.text.count(given[0][1]) == 1:
        return same_tool(rng, pools, tool, first)
    others = [t for t in dialogue.tools if t.name != first.call.name] or dialogue.tools
    second = request(rng, pools, dialogue, rng.choice(others))
    head, tail = first.text.rstrip(".?!"), second.text
    if tail[:1].isupper() and not tail[:2].isupper() and not tail.startswith("I "):
        tail = tail[0].lower() + tail[1:]
    glue = rng.choice((" and ", " and ", " and then ", ", then ", ". Then ", " and also "))
    return head + glue + tail, [first.call, second.call]


def same_tool(rng: random.Random, pools: Pools, tool: Tool, first: Request) -> tuple[str, list[Call]]:
    """`What is the weather in Paris?` becomes `... in Paris and in London?`"""
    ((name, old),) = first.call.arguments.items()
    parameter = next(p for p in tool.parameters if p.name == name)
    if parameter.kind in ("zone", "names") or parameter.choices:
        return first.text, [first.call]
    new = old
    while new == old:
        new = value(rng, pools, parameter.kind).json
    start = first.text.index(old)
    mark = first.text[start - 1] if start else " "
    closing = {"“": "”"}.get(mark, mark)
    if mark in "\"'“":
        doubled = f"{old}{closing} and {mark}{new}"
    else:
        before = first.text[:start].split()
        again = (
            f"{before[-1]} " if before and before[-1] in ("in", "for", "to", "at", "of") and rng.random() < 0.5 else ""
        )
        doubled = f"{old} and {again}{new}"
    text = first.text.replace(old, doubled, 1)
    return text, [first.call, Call(name=tool.name, arguments={name: new})]


def follow_up(rng: random.Random, pools: Pools, dialogue: Dialogue, last: Call) -> None:
    """`And in Rome?` after a call with one argument: the same call for another value."""
    tool = next(t for t in dialogue.tools if t.name == last.name)
    if len(last.arguments) != 1:
        return
    (name,) = last.arguments
    parameter = next(p for p in tool.parameters if p.name == name)
    if parameter.choices or parameter.kind in ("zone", "names", "switch"):
        return
    new = value(rng, pools, parameter.kind)
    prefix = "And in {}?" if parameter.kind == "city" else "And {}?"
    form = rng.choice((prefix, prefix, "And for {}?", "What about {}?", "Now {}", "The same for {}", "and {}"))
    dialogue.call(form.format(new.text), [Call(name=tool.name, arguments={name: new.json})])


def unfit(rng: random.Random, pools: Pools, dialogue: Dialogue) -> chat.Exchange:
    """A request that none of the dialogue's tools can serve."""
    if rng.random() < 0.4:
        return chat.unknown(rng, pools, with_tools=True)
    while True:
        if not pools.is_test and rng.random() < 0.4:
            tool, entry = real_tool(rng)
            words = family(entry)
            if any(words & family(e) for e in dialogue.entries.values()):
                continue
            wanted = real_request(rng, tool, entry, pools)
        else:
            tool = random_tool(rng, pools)
            if any(tool.noun == t.noun for t in dialogue.tools):
                continue
            wanted = ask(rng, tool, pools)
        if tool.name not in wanted.text:
            return chat.Exchange(user=wanted.text, reply=chat.NO_TOOL)


def family(entry: Entry) -> set[str]:
    """The telling words of a catalogue entry's names: entries that share one could serve each other's requests."""
    words = {w for name in entry.names for w in name.replace("-", "_").split("_")}
    return words - {"get", "current", "create", "set", "list", "add", "find", "search", "send", "read", "book", "open"}


def talk(rng: random.Random, pools: Pools, dialogue: Dialogue) -> None:
    """A turn that needs no tool, also when tools are there."""
    busy = {"echo", "greet", "say_hello", "hello"} & {n for e in dialogue.entries.values() for n in e.names}
    form = rng.random()
    if form < 0.3:
        dialogue.say(chat.small_talk(rng))
    elif form < 0.45:
        dialogue.say(chat.identity(rng))
    elif form < 0.55 and not busy:
        dialogue.say(chat.greeting(rng, pools))
    elif form < 0.75 and not busy:
        dialogue.say(chat.repeat(rng, pools))
    elif form < 0.82:
        dialogue.say(chat.count(rng))
    elif dialogue.tools:
        dialogue.say(chat.small_talk(rng))
    else:
        dialogue.say(chat.unknown(rng, pools))
