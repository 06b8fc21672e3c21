"""The examples of the documents, as they are written there: only paths of their authors' machines are replaced."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.support.mcp_stdio import environment

FOLDER: Final = Path(__file__).parent / "examples"
SECONDS: Final = 120


def text_of(example: str) -> str:
    """The text of an example, named by its path below the folder."""
    return (FOLDER / example).read_text("utf-8")


def json_of(example: str) -> Any:
    """What an example of JSON holds."""
    return json.loads(text_of(example))


def commands_of(example: str) -> list[list[str]]:
    """The words of each command of an example, on one line and without comments."""
    lines = text_of(example).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def variables() -> dict[str, str]:
    """The environment of an example: the commands of this Python come first, nothing goes through a proxy."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return environment(PATH=path, NO_PROXY="*", no_proxy="*")


def answers_of(script: str, cwd: Path) -> list[dict[str, Any]]:
    """Run a script of a shell; return the JSON that its commands print, one after the other."""
    done = subprocess.run(
        ["sh", "-e"],
        input=script,
        cwd=cwd,
        env=variables(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    answers, rest = [], done.stdout.strip()
    while rest:
        answer, end = json.JSONDecoder().raw_decode(rest)
        answers.append(answer)
        rest = rest[end:].lstrip()
    return answers


def lacks(answer: Any, example: Any, where: str = "") -> list[str]:
    """Where ``answer`` does not have the shape of ``example``: each of its fields, of its type or ``null``.

    Of a list of the example the first element is the shape of all.
    """
    match example:
        case Mapping():
            missing = [f"{where}.{key}" for key in example if key not in answer]
            there = [key for key in example if key in answer]
            return missing + [fault for key in there for fault in lacks(answer[key], example[key], f"{where}.{key}")]
        case [first, *_]:
            return [fault for number, each in enumerate(answer) for fault in lacks(each, first, f"{where}[{number}]")]
        case bool() | str():
            is_right = answer is None or isinstance(answer, type(example))
        case _:
            is_right = answer is None or (isinstance(answer, int | float) and not isinstance(answer, bool))
    return [] if is_right else [f"{where}: {answer!r} in the place of {example!r}"]
