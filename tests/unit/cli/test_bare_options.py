"""Options without a command mean ``modelhost serve``."""

from __future__ import annotations

import pytest

from modelhost.cli.bare_options import MisplacedOptionError, begins_with_option, insert_command, is_closer_to

OPTIONS = {"--m": True, "--port": True, "--p": True, "--config": True, "-c": True, "--insecure": False, "-i": False}
COMMANDS = ("serve", "chat", "models")


def completed(*args: str) -> list[str]:
    return insert_command(list(args), OPTIONS, forms=("serve", "gguf"), commands=COMMANDS)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--m", "X", "--p", "2000"], ["serve", "--m", "X", "--p", "2000"]),
        (["--port=2000", "org/name"], ["serve", "--port=2000", "org/name"]),
        (["--insecure", "org/name"], ["serve", "--insecure", "org/name"]),
        (["-cfile.yaml"], ["serve", "-cfile.yaml"]),
        (["--m"], ["serve", "--m"]),
        (["--m", "X", "--nonsense", "chat"], ["serve", "--m", "X", "--nonsense", "chat"]),
        (["--m", "chat"], ["serve", "--m", "chat"]),
        (["--port", "9000", "serve", "X", "--insecure"], ["serve", "--port", "9000", "X", "--insecure"]),
        (["--port", "1234", "gguf", "-m", "D", "-f", "F"], ["gguf", "--port", "1234", "-m", "D", "-f", "F"]),
        (["-i", "gguf", "-m", "D"], ["gguf", "-i", "-m", "D"]),
    ],
    ids=" ".join,
)
def test_the_command_is_put_in_the_first_place(args: list[str], expected: list[str]) -> None:
    assert completed(*args) == expected


def test_a_command_that_does_not_have_the_options_says_where_its_own_stand() -> None:
    with pytest.raises(MisplacedOptionError, match=r"^--port before chat is an option of serve; .*: modelhost chat"):
        completed("--port", "1", "chat")


@pytest.mark.parametrize(
    ("args", "expected"), [([], False), (["serve", "--m"], False), (["-"], False), (["--"], False), (["-c"], True)]
)
def test_options_are_what_begins_with_a_dash(args: list[str], *, expected: bool) -> None:
    assert begins_with_option(args) is expected


@pytest.mark.parametrize(("arg", "expected"), [("--prot", True), ("--versoin", False), ("--xyzzy", False)])
def test_a_misspelt_option_is_that_of_serve_if_it_resembles_one_most(arg: str, *, expected: bool) -> None:
    assert is_closer_to(arg, OPTIONS, ["--version", "--help"]) is expected
