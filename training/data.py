"""Reads the word lists beside this file: plain text, so that a list can be read and edited as a list."""

from pathlib import Path

FOLDER = Path(__file__).parent / "data"


def lines(name: str) -> list[str]:
    """The lines of a file that hold something."""
    return [line for line in (FOLDER / name).read_text().splitlines() if line]


def sections(name: str) -> dict[str, list[str]]:
    """The lines under each `[heading]` of a file, in order."""
    found: dict[str, list[str]] = {}
    for line in lines(name):
        if line.startswith("[") and line.endswith("]"):
            here = found.setdefault(line[1:-1], [])
        else:
            here.append(line)
    return found


def table(name: str) -> dict[str, str]:
    """`key = value` lines, in order."""
    return dict(line.split(" = ", 1) for line in lines(name))


def terms(name: str = "terms.txt") -> dict[str, list[str]]:
    """The words under each heading, however they are spread over lines."""
    return {heading: " ".join(text).split() for heading, text in sections(name).items()}
