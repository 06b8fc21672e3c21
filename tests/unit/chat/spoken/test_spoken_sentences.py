"""The sentences of a text that comes in pieces."""

from __future__ import annotations

import pytest

from modelhost.chat.spoken.sentences import LONGEST, Sentences

TEXT = "This is the first sentence of three. Is this the second one of them? Yes."


def split(*pieces: str) -> list[str]:
    sentences = Sentences()
    found = [sentence for piece in pieces for sentence in sentences.add(piece)]
    return [*found, sentences.rest()]


@pytest.mark.parametrize("size", [1, 3, 10, 200])
def test_sentences_are_the_same_however_the_text_comes(size: int) -> None:
    pieces = [TEXT[start : start + size] for start in range(0, len(TEXT), size)]
    assert split(*pieces) == [
        "This is the first sentence of three.",
        " Is this the second one of them?",
        " Yes.",
    ]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", [""]),
        ("No. Yes. Well, all right then. Go", ["No. Yes. Well, all right then.", " Go"]),
        ('He said "that is far enough for now." Then', ['He said "that is far enough for now."', " Then"]),
        ("version 3.14 of the program, which is a number", ["version 3.14 of the program, which is a number"]),
        ("A heading of the text\nand a line below", ["A heading of the text\nand a line below"]),
        ("A longer heading of the text\nand a line", ["A longer heading of the text\n", "and a line"]),
        (
            "这是第一句话,它比较长,一直说到了这里才终于结束了,不是吗。这是第二句",
            ["这是第一句话,它比较长,一直说到了这里才终于结束了,不是吗。", "这是第二句"],
        ),
    ],
)
def test_short_sentences_are_spoken_with_the_next(text: str, sentences: list[str]) -> None:
    assert split(text) == sentences


def test_a_text_without_ends_is_split_at_blanks() -> None:
    text = "word " * 200
    found = split(text)
    assert "".join(found) == text
    assert all(0 < len(part) <= LONGEST for part in found)
    assert all(part.endswith("word ") for part in found)
    assert "".join(split("x" * 1000)) == "x" * 1000
