"""What tools return, and the plain sentence in which the model passes it on."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass

from training.data import terms
from training.values import phrase, value
from training.words import Pools, pick

KEYS = terms()["result keys"]
FAILURES = (
    "file not found",
    "permission denied",
    "no such {n}",
    "timeout",
    "the {n} is locked",
    "invalid {n}",
    "unknown {n}",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A tool's text and the reply that reports it."""

    text: str
    reply: str


def join(parts: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1]


def spoken(item: object) -> str:
    """A JSON scalar as it is said."""
    return item if isinstance(item, str) else json.dumps(item)


def result(rng: random.Random, pools: Pools) -> Result:
    """A tool's result: a scalar, some words, a sentence, lines, a failure, nothing much, or a JSON object."""
    draw = rng.random()
    return next(make for bound, make in FORMS if draw < bound)(rng, pools)


def scalar(rng: random.Random, pools: Pools) -> Result:
    kinds = ("number", "number", "decimal", "word", "date", "time", "code", "city", "url")
    text = value(rng, pools, rng.choice(kinds)).text
    return Result(text=text, reply=f"The result is {text}.")


def words(rng: random.Random, pools: Pools) -> Result:
    text = phrase(rng, pools, 5)
    return Result(text=text, reply=f"The result is {text}.")


def sentence(rng: random.Random, pools: Pools) -> Result:
    text = statement(rng, pools)
    return Result(text=text, reply=text)


def listing(rng: random.Random, pools: Pools) -> Result:
    mark = rng.choice(("", "", "[FILE] ", "- "))
    lines = [mark + value(rng, pools, rng.choice(("path", "word", "code"))).text for _ in range(rng.randint(2, 4))]
    return Result(text="\n".join(lines), reply=f"The result is {join(lines)}.")


def failure(rng: random.Random, pools: Pools) -> Result:
    text = rng.choice(FAILURES).format(n=pick(rng, pools, pools.nouns))
    return Result(text=f"Error: {text}", reply=f"The tool failed: {text}.")


def nothing(rng: random.Random, pools: Pools) -> Result:
    return Result(text="", reply="Done.")


def done(rng: random.Random, pools: Pools) -> Result:
    text = rng.choice(("ok", "OK", "done", "success", "true", "null", "Success", "sent"))
    return Result(text=text, reply="Done.")


def statement(rng: random.Random, pools: Pools) -> str:
    """A sentence that a tool returns and that is passed on word for word."""
    noun, who = pick(rng, pools, pools.nouns), rng.choice(pools.names)
    a, b = (
        value(rng, pools, "number").text,
        value(rng, pools, rng.choice(("word", "path", "city", "code", "number"))).text,
    )
    forms = (f"The {noun} of {b} is {a}.", f"The sum of {a} and {b} is {a}{len(b)}.", f"Echo: {phrase(rng, pools)}",
             f"{noun.capitalize()} {b} was created.", f"Successfully wrote to {b}", f"{who} has {a} {noun}s.",
             f"It is {a} degrees in {b}.", f"The {noun} is {phrase(rng, pools)}.", f"Sent the {noun} to {who}.",
             f"Found {a} {noun}s for {b}.", f"The {noun} was moved to {b}.")  # fmt: skip
    return rng.choice(forms)


def record(rng: random.Random, pools: Pools) -> Result:
    """A flat JSON object; each key is said with its value, in order."""
    keys = list(
        {
            pick(rng, pools, KEYS if rng.random() < 0.6 else pools.nouns): None
            for _ in range(rng.choice((1, 2, 2, 2, 3, 3, 4)))
        }
    )
    keys = [
        f"{key}_{rng.choice(('of', 'is', 'id'))}_{rng.choice(KEYS)}" if rng.random() < 0.08 else key for key in keys
    ]
    if rng.random() < 0.1:
        keys[0] += "_" + rng.choice(pools.nouns)
    kinds = (
        "number",
        "word",
        "city",
        "date",
        "decimal",
        "switch",
        "time",
        "person",
        "code",
        "moment",
        "zone",
        "phrase",
    )
    fields = {key: value(rng, pools, rng.choice(kinds)).json for key in keys}
    said = join([f"the {key.replace('_', ' ')} is {spoken(item)}" for key, item in fields.items()])
    text = json.dumps(fields, indent=2 if rng.random() < 0.25 else None, ensure_ascii=False)
    return Result(text=text, reply=said[0].upper() + said[1:] + ".")


# Cumulative shares.
FORMS: tuple[tuple[float, Callable[[random.Random, Pools], Result]], ...] = (
    (0.25, scalar),
    (0.29, words),
    (0.45, sentence),
    (0.53, listing),
    (0.6, failure),
    (0.63, nothing),
    (0.67, done),
    (1.0, record),
)
