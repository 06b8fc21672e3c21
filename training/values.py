"""Argument values: what a kind of value looks like in a request and in JSON."""

import random
import string
from dataclasses import dataclass

from training.data import table, terms
from training.words import Pools, invented, pick

Json = str | int | float | bool | list[str]

TYPES = {"number": "number", "decimal": "number", "switch": "boolean", "list": "array"}
_TERMS = terms()
DOMAINS, LANGUAGES, CURRENCIES = _TERMS["domains"], _TERMS["languages"], _TERMS["currencies"]
REGIONS, NUMBERS, KINDS = _TERMS["regions"], _TERMS["numbers"], _TERMS["value kinds"]
# The kind that a parameter's name promises; other names take any kind.
KIND_OF = table("kinds.txt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One argument value: as it stands in a request, and as JSON."""

    text: str
    json: Json


def phrase(rng: random.Random, pools: Pools, longest: int = 4) -> str:
    """Some words in a row, now and then with an invented one, a capital or a full stop inside."""
    words = [rng.choice(pools.words) for _ in range(rng.randint(1, longest))]
    for index in range(len(words)):
        if rng.random() < 0.25:
            words[index] = invented(rng, pools)
        if rng.random() < 0.06:
            words[index] = words[index].capitalize()
        if rng.random() < 0.03:
            words[index] = str(rng.randint(0, 99))
    text = " ".join(words)
    return text.capitalize() if rng.random() < 0.2 else text


def person(rng: random.Random, pools: Pools) -> str:
    """A first name, real or invented."""
    return invented(rng, pools).capitalize() if rng.random() < 0.35 else rng.choice(pools.names)


def city(rng: random.Random, pools: Pools) -> str:
    """A place, real or invented."""
    name = invented(rng, pools).capitalize() if rng.random() < 0.35 else rng.choice(pools.cities)
    return f"{name}, {rng.choice(REGIONS)}" if rng.random() < 0.05 else name


def number(rng: random.Random) -> int:
    """An integer, small ones more often."""
    return rng.randint(0, 10 ** rng.choice((1, 2, 2, 3, 4))) * (-1 if rng.random() < 0.04 else 1)


def code(rng: random.Random) -> str:
    """An identifier such as `AB-1234` or `x7k2`."""
    letters = "".join(rng.choice(string.ascii_uppercase) for _ in range(rng.randint(1, 3)))
    digits = str(rng.randint(1, 9999))
    mixed = "".join(rng.choice(string.ascii_lowercase + string.digits) for _ in range(rng.randint(3, 6)))
    return rng.choice((f"{letters}-{digits}", f"{letters}{digits}", mixed))


def path(rng: random.Random, pools: Pools) -> str:
    """A file or folder path, absolute, relative or bare."""
    parts = [pick(rng, pools, pools.nouns) for _ in range(rng.randint(1, 3))]
    ending = rng.choice(("", ".txt", ".md", ".py", ".json", ".csv", ".log"))
    root = rng.choice(("/", "/", "", "./", "/tmp/", "/home/", "~/"))  # noqa: S108 - text, not a place
    return root + "/".join(parts) + ending


def url(rng: random.Random, pools: Pools) -> str:
    """A web address."""
    host = rng.choice(
        (rng.choice(DOMAINS), f"{pick(rng, pools, pools.nouns)}.{rng.choice(('com', 'org', 'io', 'dev'))}")
    )
    tail = rng.choice(
        ("", "", "/" + pick(rng, pools, pools.nouns), f"/{pick(rng, pools, pools.nouns)}/{rng.randint(1, 99)}")
    )
    return rng.choice(("https://", "https://", "http://", "https://www.")) + host + tail


def value(rng: random.Random, pools: Pools, kind: str) -> Value:
    """A random value of the kind. Raises `KeyError` for an unknown kind."""
    if kind == "switch":
        on = rng.random() < 0.5
        return Value(text=rng.choice(("true", "on", "yes") if on else ("false", "off", "no")), json=on)
    if kind == "number":
        n: int | float = number(rng)
        if 1 <= n <= 20 and rng.random() < 0.2:
            return Value(text=NUMBERS[int(n) - 1], json=n)
        if rng.random() < 0.08:
            n = round(rng.uniform(0, 100), rng.choice((1, 2)))
        return Value(text=str(n), json=n)
    if kind == "decimal":
        x = round(rng.uniform(0, 200), rng.choice((1, 2))) if rng.random() < 0.7 else number(rng)
        return Value(text=str(x), json=x)
    text = {
        "word": lambda: pick(rng, pools, pools.words),
        "phrase": lambda: phrase(rng, pools),
        "person": lambda: person(rng, pools),
        "city": lambda: city(rng, pools),
        "path": lambda: path(rng, pools),
        "url": lambda: url(rng, pools),
        "email": lambda: f"{pick(rng, pools, [n.lower() for n in pools.names])}@{rng.choice(DOMAINS)}",
        "date": lambda: f"{rng.randint(2020, 2035)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}",
        "time": lambda: f"{rng.randint(0, 23):02}:{rng.choice((0, 15, 30, 45, rng.randint(0, 59))):02}",
        "code": lambda: code(rng),
        "language": lambda: rng.choice(LANGUAGES),
        "currency": lambda: rng.choice(CURRENCIES),
        "zone": lambda: f"{rng.choice(('Europe', 'Asia', 'America', 'Africa'))}/{city(rng, pools).replace(' ', '_')}",
        "moment": lambda: (
            f"{rng.randint(2020, 2035)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}T{rng.randint(0, 23):02}:"
            f"{rng.randint(0, 59):02}:{rng.randint(0, 59):02}{rng.choice(('', 'Z', '+09:00', '+01:00', '-05:00'))}"
        ),
        "upper": lambda: invented(rng, pools).upper()[:5],
    }[kind]()
    return Value(text=text, json=text)
