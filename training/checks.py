"""Proof that the exported file is the trained model: same prompts, same tokens, same greedy replies in llama.cpp."""

import json
import random
import urllib.request
from dataclasses import dataclass

import torch

from training.lessons import lesson
from training.model import Nano
from training.render import render
from training.tokenizer import Encoder
from training.words import HELD_OUT

ODD = (
    "Olá, você está aqui?",
    "日本語のテスト",
    "emoji 😀👍🏽 end",
    "don't I'll we've they're",
    "a\tb\t\tc",
    "x   y    z\n\n  w",
    "camelCaseName HTTPServer a_b__c---d",
    "12345 3.14 -7",
    '{"a": [1, 2]}',
    "“quoted” \u2018x\u2019",
    "naïve café Zoë",
    "مرحبا",
    "  lead",
    "trail  ",
    "no\u00a0break",
    "½ Ⅷ ١٢٣",
    "' s 's 'S",
    " the  the\tthe",
    "<tools>\nx</tools>",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How many of `checked` agreed, for each of the three comparisons."""

    tokens: int
    tokens_checked: int
    prompts: int
    prompts_checked: int
    replies: int
    replies_checked: int


@torch.no_grad()
def greedy(network: Nano, encoder: Encoder, prompt: str, most: int = 80) -> str:
    """The network's own reply, token by token, without any cache."""
    ids = encoder.ids(prompt)
    start = len(ids)
    while len(ids) - start < most:
        hidden = network(torch.tensor([ids]), torch.arange(len(ids))[None])
        token = int(network.logits(hidden[0, -1]).argmax())
        if token == encoder.end:
            break
        ids.append(token)
    return encoder.tokenizer.decode(ids[start:], skip_special_tokens=False)


def post(url: str, path: str, body: dict[str, object]) -> dict:
    data = json.dumps(body).encode()
    query = urllib.request.Request(url + path, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(query, timeout=60) as answer:
        return json.load(answer)


def parity(network: Nano, encoder: Encoder, url: str, count: int = 40) -> Parity:
    """Compares with llama.cpp's server at `url` on odd texts and on `count` held-out prompts."""
    rng = random.Random("nano-parity")
    dialogues = [lesson(rng, HELD_OUT, "all") for _ in range(count)]
    prompts, texts = 0, list(ODD)
    for dialogue in dialogues:
        body = {"messages": dialogue.messages[:-1], "tools": dialogue.schemas()}
        if not dialogue.tools:
            del body["tools"]
        texts.append(render(dialogue.messages[:-1], dialogue.schemas(), add_generation_prompt=True))
        prompts += post(url, "/apply-template", body)["prompt"] == texts[-1]
    tokens = sum(
        post(url, "/tokenize", {"content": text, "add_special": False, "parse_special": True})["tokens"]
        == encoder.ids(text)
        for text in texts
    )
    replies = 0
    for prompt in texts[len(ODD) :]:
        ids = {"prompt": encoder.ids(prompt), "n_predict": 80, "temperature": 0, "return_tokens": True}
        made = [token for token in post(url, "/completion", ids)["tokens"] if token != encoder.end]
        text = encoder.tokenizer.decode(made, skip_special_tokens=False)
        replies += text == greedy(network, encoder, prompt)
    return Parity(
        tokens=tokens,
        tokens_checked=len(texts),
        prompts=prompts,
        prompts_checked=count,
        replies=replies,
        replies_checked=count,
    )
