"""Tools that people really have, with the ordinary requests for them. Names, order and wording vary.

A line of `data/catalogue.txt`: names | descriptions | parameters `name/name:kind` (`?` optional) | requests with
`{0}`, `{1}` for the values.
"""

import random
from dataclasses import dataclass

from training.data import lines, table, terms
from training.tools import Call, Parameter, Request, Tool
from training.values import value
from training.words import Pools

# Cities of the tz database, for parameters that are called a timezone.
ZONES = table("zones.txt")
SERVERS = terms()["servers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One parsed line of the catalogue."""

    names: list[str]
    descriptions: list[str]
    slots: list[str]
    requests: list[str]


def parse(line: str) -> Entry:
    """The fields of one line. A slash inside a request counts only between requests, so `{0} / {1}` has spaces."""
    names, descriptions, slots, requests = (part.strip() for part in line.split("|"))
    requests = requests.replace(" / ", "\0")
    return Entry(
        names=names.split("/"),
        descriptions=[d.strip() for d in descriptions.split("/")],
        slots=[s.strip() for s in slots.split(";") if s.strip()],
        requests=[r.replace("\0", " / ") for r in requests.split("/")],
    )


CATALOGUE = [parse(line) for line in lines("catalogue.txt")]


def real_tool(rng: random.Random) -> tuple[Tool, Entry]:
    """A tool of the catalogue; the everyday ones at its top more often."""
    entry = rng.choice(CATALOGUE if rng.random() > 0.3 else CATALOGUE[:20])
    return tool_of(rng, entry), entry


def tool_of(rng: random.Random, entry: Entry) -> Tool:
    """The entry's tool under one of its names."""
    parameters = []
    for slot in entry.slots:
        names, kind = slot.split(":")
        optional, kind = kind.endswith("?"), kind.removesuffix("?")
        choices = tuple(kind[1:].split(",")) if kind.startswith("=") else ()
        name = rng.choice(names.split("/"))
        parameters.append(Parameter(name=name, kind=kind, required=not optional, choices=choices))
    name = rng.choice(entry.names)
    if rng.random() < 0.12:
        name = f"{rng.choice(SERVERS)}_{name}"
    return Tool(name=name, description=rng.choice(entry.descriptions), parameters=tuple(parameters))


def real_request(rng: random.Random, tool: Tool, entry: Entry, pools: Pools) -> Request:
    """An ordinary request for a tool of the catalogue; arguments that it does not mention are left out."""
    wording = rng.choice(entry.requests)
    arguments: dict[str, object] = {}
    for index, parameter in enumerate(tool.parameters):
        slot = f"{{{index}}}"
        if slot not in wording:
            continue
        if parameter.choices:
            text = json = rng.choice(parameter.choices)
        elif parameter.kind == "zone":
            text = rng.choice([zone for zone in ZONES if pools.is_test is False or zone != "UTC"])
            json = ZONES[text]
        elif parameter.kind == "names":
            text = rng.choice(pools.names)
            json = [text]
        else:
            drawn = value(rng, pools, parameter.kind)
            text, json = drawn.text, drawn.json
        wording = wording.replace(slot, text)
        arguments[parameter.name] = json
    return Request(text=wording, call=Call(name=tool.name, arguments=arguments))
