"""Tools nobody has seen: random names, descriptions and parameters, and requests that want one of them called."""

import random
from dataclasses import dataclass

from training.data import terms
from training.values import KIND_OF, KINDS, TYPES, Json, value
from training.words import Pools, invented, pick

QUOTES = ('"', "'", '"', "“")
PREPOSITIONS = terms()["prepositions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter. `choices` makes it an enumeration."""

    name: str
    kind: str
    required: bool = True
    choices: tuple[str, ...] = ()

    def schema(self) -> dict[str, object]:
        if self.choices:
            return {"type": "string", "enum": list(self.choices)}
        return {"type": TYPES.get(self.kind, "string")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool as the model sees it, and the words (verbs, noun) that a request for it uses."""

    name: str
    description: str
    parameters: tuple[Parameter, ...] = ()
    verbs: tuple[str, ...] = ()
    noun: str = ""

    def openai(self) -> dict[str, object]:
        """The tool as OpenAI's `tools` entry."""
        schema = {
            "type": "object",
            "properties": {p.name: p.schema() for p in self.parameters},
            "required": [p.name for p in self.parameters if p.required],
        }
        function = {"name": self.name, "description": self.description, "parameters": schema}
        return {"type": "function", "function": function}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call that the model should make."""

    name: str
    arguments: dict[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a user says, and the call that answers it."""

    text: str
    call: Call


def tool_name(rng: random.Random, verb: str, noun: str, pools: Pools) -> str:
    """`verb_noun` in one of the spellings in use, now and then behind a server's prefix."""
    style = rng.random()
    if style < 0.6:
        name = f"{verb}_{noun}"
    elif style < 0.7:
        name = f"{verb}-{noun}"
    elif style < 0.8:
        name = verb + noun.capitalize()
    elif style < 0.87:
        name = noun
    elif style < 0.93:
        name = f"{noun}_{verb}"
    else:
        name = f"{verb}_{noun}_{rng.choice(('by_id', 'info', 'data', 'item', 'list'))}"
    return f"{pick(rng, pools, pools.nouns)}_{name}" if rng.random() < 0.2 else name


def describe(rng: random.Random, verb: str, noun: str, parameters: tuple[Parameter, ...], pools: Pools) -> str:
    """The first sentence of a description; empty for one tool in twelve."""
    if rng.random() < 0.08:
        return ""
    article = rng.choice(("the", "a", "the", "a new", "one", "the current"))
    tail = ""
    if parameters and rng.random() < 0.3:
        tail = (
            f" {rng.choice(PREPOSITIONS)} {rng.choice(('a', 'the', 'a given'))} {parameters[0].name.replace('_', ' ')}"
        )
    elif rng.random() < 0.25:
        tail = f" {rng.choice(('of', 'in', 'for', 'from'))} the {pick(rng, pools, pools.nouns)}"
    if rng.random() < 0.15:
        more = ("and its", "together with the", "by using the", "that holds a", "with all details of the")
        tail += f" {rng.choice(more)} {pick(rng, pools, pools.nouns)}"
    form = rng.random()
    if form < 0.6:
        text = f"{verb.capitalize()} {article} {noun}{tail}"
    elif form < 0.8:
        text = f"{verb.capitalize()}s {article} {noun}{tail}"
    elif form < 0.9:
        text = f"{noun.capitalize()} {rng.choice(('tool', 'service', 'helper', 'lookup'))}{tail}"
    else:
        text = f"Use this to {verb} {article} {noun}{tail}"
    return text + rng.choice(("", "", ".", ". It returns text."))


def random_parameters(rng: random.Random, pools: Pools, most: int = 3) -> tuple[Parameter, ...]:
    """Up to `most` parameters with different names; optional ones come last."""
    count = min(most, rng.choice((0, 1, 1, 1, 1, 2, 2, 2, 3, 3)))
    names: dict[str, None] = {}
    while len(names) < count:
        name = pick(rng, pools, pools.parameters)
        if rng.random() < 0.12:
            name = f"{name}_{pick(rng, pools, pools.nouns)}"
        names[name] = None
    parameters = []
    for index, name in enumerate(names):
        choices: tuple[str, ...] = ()
        if rng.random() < 0.08:
            choices = tuple({pick(rng, pools, pools.words): None for _ in range(rng.randint(2, 4))})
        kind = KIND_OF.get(name) or rng.choice(KINDS)
        required = not (index > 0 and rng.random() < 0.35)
        parameters.append(Parameter(name=name, kind=kind, required=required, choices=choices))
    return tuple(sorted(parameters, key=lambda p: not p.required))


def random_tool(rng: random.Random, pools: Pools, like: Tool | None = None, most: int = 3) -> Tool:
    """A tool of random words. `like` shares its noun or its verbs with the new one: a distractor that looks right."""
    verbs = list(rng.choice(pools.verbs)) if rng.random() > 0.15 else [invented(rng, pools)]
    noun = pick(rng, pools, pools.nouns)
    if like and like.noun and rng.random() < 0.5:
        if rng.random() < 0.5 and not set(verbs) & set(like.verbs):
            noun = like.noun
        else:
            verbs = list(like.verbs)
    parameters = random_parameters(rng, pools, most)
    verb = rng.choice(verbs)
    described = rng.choice(verbs) if rng.random() < 0.3 else verb
    return Tool(
        name=tool_name(rng, verb, noun, pools),
        description=describe(rng, described, noun, parameters, pools),
        parameters=parameters,
        verbs=tuple(verbs),
        noun=noun,
    )


def quoted(rng: random.Random, text: str, kind: str, is_last: bool) -> str:
    """The value as written in a request. A phrase needs quotes unless it ends the sentence."""
    if (kind == "phrase" and (not is_last or rng.random() < 0.6)) or (kind == "word" and rng.random() < 0.15):
        mark = rng.choice(QUOTES)
        return mark + text + ("”" if mark == "“" else mark)
    return text


def ask(rng: random.Random, tool: Tool, pools: Pools) -> Request:
    """A request for a random tool, with its required and some of its optional arguments."""
    chosen = [p for p in tool.parameters if p.required or rng.random() < 0.4]
    arguments: dict[str, Json] = {}
    pieces: list[str] = []
    bare = len(chosen) == 1 and rng.random() < 0.65
    join = rng.choice(("with", "with", "for", "using", ":"))
    for index, parameter in enumerate(chosen):
        if parameter.choices:
            text = rng.choice(parameter.choices)
            arguments[parameter.name] = text
        else:
            drawn = value(rng, pools, parameter.kind)
            text, arguments[parameter.name] = drawn.text, drawn.json
        text = quoted(rng, text, parameter.kind, index == len(chosen) - 1)
        label = parameter.name.replace("_", " ") if rng.random() < 0.8 else parameter.name
        if bare:
            pieces.append(rng.choice(("", rng.choice(PREPOSITIONS) + " ", rng.choice(PREPOSITIONS) + " ")) + text)
        else:
            pieces.append(
                rng.choice(
                    (
                        f"{label} {text}",
                        f"{label} {text}",
                        f"{label} = {text}",
                        f"{label}: {text}",
                        f"the {label} {text}",
                        f"{text} as {label}",
                        f"{label} set to {text}",
                    )
                )
            )
    if bare:
        tail = " " + pieces[0]
    elif pieces:
        listed = ", ".join(pieces[:-1]) + rng.choice((" and ", ", ", ", and ")) * (len(pieces) > 1) + pieces[-1]
        tail = (": " if join == ":" else f" {join} ") + listed
    else:
        tail = ""
    is_open = bool(chosen) and chosen[-1].kind == "phrase" and tail.endswith(text) and text[-1] not in "\"'”"
    return Request(text=sentence(rng, tool, tail, is_open), call=Call(name=tool.name, arguments=arguments))


def sentence(rng: random.Random, tool: Tool, tail: str, is_open: bool) -> str:
    """One of the ways to ask for the tool's verb and noun. `tail` holds the arguments; when it `is_open`, it ends in a
    phrase without quotes, after which no other word may come."""
    verb, noun = rng.choice(tool.verbs), tool.noun
    article = rng.choice(("the", "the", "a", "my", "this", ""))
    thing = f"{article} {noun}".strip()
    form = rng.random()
    if form < 0.5:
        text = f"{verb.capitalize()} {thing}{tail}"
    elif form < 0.62:
        text = f"Please {verb} {thing}{tail}"
    elif form < 0.72:
        opening = rng.choice(("Can you", "Could you", "I want you to", "I need you to", "Would you"))
        text = f"{opening} {verb} {thing}{tail}"
    elif form < 0.82:
        text = f"{rng.choice(('I want to', 'I would like to', 'I need to', 'Help me'))} {verb} {thing}{tail}"
    elif form < 0.9 and {"get", "find", "calculate", "check"} & set(tool.verbs):
        opening = rng.choice(("What is", "What\u2019s", "Tell me", "I need", "Show me", "Give me"))
        text = f"{opening} {thing}{tail}"
    elif form < 0.95:
        text = f"Use {tool.name}{tail}"
    else:
        text = f"{verb} {thing}{tail}"
    if is_open:
        return text + rng.choice(("", "", "."))
    ending = rng.choice(("", "", ".", ".", "!", " please", ", please.")) if rng.random() < 0.9 else " now."
    return text + ("?" if text.startswith(("Can", "Could", "Would", "What")) and rng.random() < 0.8 else ending)
