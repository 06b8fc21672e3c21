"""What is taught when: the training mix of each stage of the curriculum, as endless seeded dialogues."""

import json
import random

from training import chat, dialogues
from training.dialogues import Dialogue
from training.values import value
from training.words import Pools, invented, pick

STAGES = ("copy", "one", "choose", "all", "polish")


def lesson(rng: random.Random, pools: Pools, stage: str) -> Dialogue:
    """One dialogue of the stage. Later stages keep some of the earlier ones' lessons."""
    draw = rng.random()
    if stage == "copy":
        return copying(rng, pools)
    if stage == "one":
        return copying(rng, pools) if draw < 0.25 else tool_session(rng, pools, 1 if draw < 0.8 else 2)
    if stage == "choose" and draw < 0.8:
        count = rng.choice((2, 2, 3, 3, 4, 5, 8, 12))
        return choosing(rng, pools, dialogues.begin(rng, pools, count, most=1))
    if stage == "polish" and draw < 0.3:
        return everyday(rng, pools, draw / 0.3)
    return anything(rng, pools, rng.random())


def everyday(rng: random.Random, pools: Pools, draw: float) -> Dialogue:
    """What people try first: counting, and well-known tools in short lists and in lists as long as a server's."""
    if draw < 0.12:
        dialogue = dialogues.begin(rng, pools)
        for _ in range(rng.randint(1, 4)):
            dialogue.say(chat.count(rng))
        return dialogue
    return choosing(rng, pools, dialogues.known(rng, pools, rng.randint(8, 15) if draw < 0.5 else rng.randint(2, 6)))


def anything(rng: random.Random, pools: Pools, draw: float) -> Dialogue:
    """The full mix; `draw` in 0..1 picks the kind of dialogue."""
    if draw < 0.05:
        return copying(rng, pools)
    if draw < 0.22:
        return conversation(rng, pools)
    if draw < 0.29:
        return tool_session(rng, pools, rng.randint(5, 16))
    if draw < 0.5:
        return choosing(rng, pools, dialogues.begin(rng, pools, rng.choice((2, 3, 4, 4, 5, 6)), most=2))
    return tool_session(rng, pools, rng.choice((1, 1, 2, 2, 3, 3, 4, 4, 4, 5)))


def copying(rng: random.Random, pools: Pools) -> Dialogue:
    """Short dialogues whose replies repeat words of the dialogue: from these the copying heads grow."""
    dialogue = dialogues.begin(rng, pools)
    form = rng.random()
    if form < 0.12:
        for _ in range(rng.randint(1, 4)):
            dialogue.say(chat.count(rng))
    elif form < 0.45:
        for _ in range(rng.randint(1, 3)):
            dialogue.say(chat.repeat(rng, pools))
    elif form < 0.62:
        words = " ".join(invented(rng, pools) for _ in range(rng.randint(3, 8)))
        dialogue.say(chat.Exchange(user=f"Repeat: {words}", reply=words))
    else:
        memory(rng, pools, dialogue)
    return dialogue


def memory(rng: random.Random, pools: Pools, dialogue: Dialogue) -> None:
    """One to three things told, some talk, and the questions about them."""
    pairs = [chat.introduction(rng, pools)] if rng.random() < 0.6 else []
    pairs += [chat.fact(rng, pools) for _ in range(rng.randint(0 if pairs else 1, 2))]
    rng.shuffle(pairs)
    for told, _ in pairs:
        dialogue.say(told)
        if rng.random() < 0.25:
            dialogues.talk(rng, pools, dialogue)
    asked = list(dict.fromkeys(asked for _, asked in pairs))
    rng.shuffle(asked)
    for exchange in asked[: rng.randint(1, 3)]:
        if len([a for a in asked if a.user == exchange.user]) == 1:
            dialogue.say(exchange)


def conversation(rng: random.Random, pools: Pools) -> Dialogue:
    """Talk without tools: greetings, questions, counting, things remembered or never told."""
    dialogue = dialogues.begin(rng, pools)
    if rng.random() < 0.3:
        dialogue.say(chat.greeting(rng, pools))
    if rng.random() < 0.2:
        dialogue.say(chat.not_told(rng, pools))
    elif rng.random() < 0.35:
        memory(rng, pools, dialogue)
    for _ in range(rng.randint(1, 3)):
        dialogues.talk(rng, pools, dialogue)
    if rng.random() < 0.15:
        dialogue.say(as_json(rng, pools))
    return dialogue


def as_json(rng: random.Random, pools: Pools) -> chat.Exchange:
    """Facts to be written as a JSON object."""
    name, n, place = rng.choice(pools.names), abs(value(rng, pools, "number").json) % 100, rng.choice(pools.cities)
    key, kind = pick(rng, pools, pools.nouns), rng.choice(("word", "number", "code", "city", "person", "phrase"))
    drawn = value(rng, pools, kind)
    if rng.random() < 0.5:
        forms = (
            "Give me a JSON object with {} {}",
            "Reply in JSON: {} {}",
            "JSON with the {} {}",
            "Make JSON: {} is {}",
        )
        user = rng.choice(forms).format(key, drawn.text)
        return chat.Exchange(user=user, reply=json.dumps({key: drawn.json}, ensure_ascii=False))
    user, reply = rng.choice((
        (f"Give me a JSON object with name {name} and age {n}", f'{{"name": "{name}", "age": {n}}}'),
        (f"Reply in JSON: name {name}, city {place}", f'{{"name": "{name}", "city": "{place}"}}'),
        (f"Write JSON with the city {place}", f'{{"city": "{place}"}}'),
        (f"Return JSON with name {name}", f'{{"name": "{name}"}}'),
    ))  # fmt: skip
    return chat.Exchange(user=user, reply=reply)


def choosing(rng: random.Random, pools: Pools, dialogue: Dialogue) -> Dialogue:
    """Request after request over one list of simple tools: many choices for few tokens."""
    for _ in range(rng.randint(3, 7)):
        draw = rng.random()
        if draw < 0.72:
            wanted = dialogues.request(rng, pools, dialogue)
            dialogue.call(wanted.text, [wanted.call])
        elif draw < 0.84:
            dialogue.call(*dialogues.two_requests(rng, pools, dialogue))
        elif draw < 0.94:
            dialogue.say(dialogues.unfit(rng, pools, dialogue))
        else:
            dialogues.talk(rng, pools, dialogue)
    return dialogue


def tool_session(rng: random.Random, pools: Pools, tool_count: int) -> Dialogue:
    """Several turns over one list of tools, so that the list is paid for once and used often."""
    dialogue = dialogues.begin(rng, pools, tool_count)
    for _ in range(rng.choice((1, 2, 2, 3, 3, 4))):
        draw, wanted = rng.random(), None
        if draw < 0.52:
            wanted = dialogues.request(rng, pools, dialogue)
            dialogue.call(wanted.text, [wanted.call])
        elif draw < 0.74:
            dialogue.call(*dialogues.two_requests(rng, pools, dialogue))
        elif draw < 0.86:
            dialogue.say(dialogues.unfit(rng, pools, dialogue))
            continue
        elif draw < 0.88:
            names = [tool.name for tool in dialogue.tools]
            asked = rng.choice(
                ("Which tools do you have?", "What tools can you use?", "List your tools", "What are your tools?")
            )
            dialogue.say(chat.Exchange(user=asked, reply=f"My tools are: {', '.join(names)}."))
            continue
        elif draw < 0.9:
            told, asked = chat.introduction(rng, pools)
            dialogue.say(told)
            dialogue.say(asked)
            continue
        else:
            dialogues.talk(rng, pools, dialogue)
            continue
        if rng.random() < 0.25:
            break
        dialogue.answer(rng, pools)
        if wanted and rng.random() < 0.12:
            dialogues.follow_up(rng, pools, dialogue, wanted.call)
            break
    return dialogue
