"""Talk without tools: greetings, what the model is, memory of the dialogue, repetition, honest ignorance."""

import random
from dataclasses import dataclass

from training.data import sections
from training.values import NUMBERS, city, number, person, phrase, value
from training.words import Pools, pick

UNKNOWN = "I do not know that. I am only a tiny demonstration model."
NO_TOOL = "None of my tools can do that."
NOT_TOLD = "You have not told me that."
IDENTITY = "I am modelhost-nano, a tiny demonstration model."
ABILITY = "I can chat a little, remember what you tell me, repeat a phrase and call tools."
HELLO = "Hello! How can I help you?"

# What is said, by the answer that it gets.
SMALL_TALK = sections("talk.txt")
_PROMPTS = sections("prompts.txt")
SYSTEMS, QUESTIONS, TASKS = _PROMPTS["systems"], _PROMPTS["questions"], _PROMPTS["tasks"]
# Asked only where no tools are listed, since a tool may well answer them.
PLAIN = _PROMPTS["plain questions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A user's turn and the reply to it."""

    user: str
    reply: str


def small_talk(rng: random.Random) -> Exchange:
    reply = rng.choice(list(SMALL_TALK))
    return Exchange(user=rng.choice(SMALL_TALK[reply]), reply=reply)


def greeting(rng: random.Random, pools: Pools) -> Exchange:
    """A hello to the model or to somebody else."""
    if rng.random() < 0.5:
        return Exchange(user=rng.choice(SMALL_TALK[HELLO]), reply=HELLO)
    who = person(rng, pools)
    user = rng.choice(
        (
            "Say hello to {}",
            "Say hi to {}",
            "Please say hello to {}.",
            "Greet {}",
            "Can you say hello to {}?",
            "say hello to {}",
            "Say hello to {}!",
            "Say hello to my friend {}",
        )
    )
    return Exchange(user=user.format(who), reply=f"Hello, {who}!")


def identity(rng: random.Random) -> Exchange:
    reply = rng.choice(
        (
            IDENTITY,
            IDENTITY,
            ABILITY,
            "modelhost is a program that hosts language models and tools on your own machine.",
        )
    )
    return Exchange(user=rng.choice(SMALL_TALK[reply]), reply=reply)


def unknown(rng: random.Random, pools: Pools, with_tools: bool = False) -> Exchange:
    """A question beyond the model. Without tools it says what it is; with tools it says that none fits."""
    form = rng.choice(QUESTIONS if rng.random() < 0.7 else TASKS)
    if not with_tools and rng.random() < 0.35:
        form = rng.choice(PLAIN)
    user = form.format(
        n=pick(rng, pools, pools.nouns), n2=pick(rng, pools, pools.nouns), c=city(rng, pools), d=city(rng, pools),
        w=pick(rng, pools, pools.words), p=phrase(rng, pools), y=rng.randint(1800, 2030), m=person(rng, pools),
        a=abs(number(rng)), b=abs(number(rng)),
    )  # fmt: skip
    return Exchange(user=user, reply=NO_TOOL if with_tools else UNKNOWN)


def repeat(rng: random.Random, pools: Pools) -> Exchange:
    """A phrase to be said again, as it is."""
    kind = rng.choice(("phrase", "phrase", "phrase", "word", "code", "url", "email", "number", "path"))
    text = phrase(rng, pools, 6) if kind == "phrase" else value(rng, pools, kind).text
    form = rng.choice(
        (
            'Repeat "{}"',
            "Repeat: {}",
            "Repeat after me: {}",
            'Say "{}"',
            "Say {}",
            "Please repeat: {}",
            "Repeat {}",
            'Say this: "{}"',
            "Say: {}",
            "Repeat the words {}",
            'Please say "{}".',
            "repeat {}",
            "Repeat this: {}",
            "Say the words {}",
            'Can you repeat "{}"?',
            'Repeat the phrase "{}".',
            "Reply with {}",
            "Reply with: {}",
            'Answer only "{}"',
            'Respond with "{}"',
        )
    )
    return Exchange(user=form.format(text), reply=text)


def count(rng: random.Random) -> Exchange:
    n = rng.randint(2, 20) if rng.random() < 0.5 else rng.randint(2, 10)
    word = rng.choice((NUMBERS[n - 1], str(n)))
    form = rng.choice(
        (
            "Count to {}",
            "Count to {}.",
            "Please count to {}",
            "Count from 1 to {}",
            "Can you count to {}?",
            "count to {}",
            "Count up to {}",
            "Count from one to {}",
        )
    )
    return Exchange(user=form.format(word), reply=", ".join(map(str, range(1, n + 1))) + ".")


def introduction(rng: random.Random, pools: Pools) -> tuple[Exchange, Exchange]:
    """A name told, and asked for later."""
    who = person(rng, pools)
    told = rng.choice(
        (
            "My name is {}",
            "My name is {}.",
            "I am {}.",
            "Hi, I am {}",
            "Hello, my name is {}.",
            "I'm {}",
            "Call me {}.",
            "Hello! My name is {}!",
            "Hi! I'm {}.",
            "my name is {}",
            "You can call me {}.",
        )
    )
    asked = rng.choice(
        (
            "What is my name?",
            "What's my name?",
            "Who am I?",
            "Do you know my name?",
            "Do you remember my name?",
            "Tell me my name",
            "what is my name",
            "Can you tell me my name?",
            "Say my name",
        )
    )
    return Exchange(user=told.format(who), reply=f"Nice to meet you, {who}!"), Exchange(
        user=asked, reply=f"Your name is {who}."
    )


def fact(rng: random.Random, pools: Pools) -> tuple[Exchange, Exchange]:
    """A fact told, and asked for later."""
    form = rng.random()
    place, n, who = city(rng, pools), abs(number(rng)) % 100, person(rng, pools)
    thing = pick(rng, pools, pools.nouns)
    if form < 0.55:
        kind = rng.choice(("word", "word", "person", "city", "number", "code"))
        text = value(rng, pools, kind).text
        topic = rng.choice(
            (thing, f"favorite {thing}", f"favourite {rng.choice(('color', 'colour', 'food', 'city', 'word', thing))}")
        )
        told, asked, reply = f"My {topic} is {text}", f"What is my {topic}?", f"Your {topic} is {text}."
    elif form < 0.68:
        told, asked, reply = f"I live in {place}", "Where do I live?", f"You live in {place}."
    elif form < 0.78:
        told, asked, reply = f"I am {n} years old", "How old am I?", f"You are {n} years old."
    elif form < 0.9:
        told, asked, reply = (
            f"My {thing} is called {who}",
            f"What is my {thing} called?",
            f"Your {thing} is called {who}.",
        )
    else:
        told, asked, reply = f"I like {thing}s", "What do I like?", f"You like {thing}s."
    told = rng.choice(("{}", "{}.", "{}.", "Remember: {}", "Remember that {}", "{}!")).format(told)
    return Exchange(user=told, reply="I will remember that."), Exchange(user=asked, reply=reply)


def not_told(rng: random.Random, pools: Pools) -> Exchange:
    """A question about the user that nothing in the dialogue answers."""
    thing = pick(rng, pools, pools.nouns)
    asked = (
        "What is my name?",
        "Where do I live?",
        "How old am I?",
        f"What is my {thing}?",
        f"What is my {thing} called?",
        "What do I like?",
        f"What is my favorite {thing}?",
        "Who am I?",
        "What's my name?",
    )
    return Exchange(user=rng.choice(asked), reply=NOT_TOLD)
