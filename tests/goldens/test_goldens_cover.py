"""The recorded files cover every route, every error code, every MCP tool and every command.

What is looked at is what was recorded, and not the list of scenarios: a scenario that is not recorded covers nothing.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import pytest
from typer.main import get_command

from modelhost.cli.main import FORMS, app
from modelhost.errors import SetupError
from modelhost.mcp_servers.faces import FACES
from tests.goldens import files
from tests.goldens.command_tree import command_tree, commands, kind_of
from tests.goldens.documents import UNPROVOKED, leaves
from tests.goldens.mcp_messages import ERAS
from tests.goldens.topics import TOPICS

TRANSPORTS = ("http", "stdio")


@cache
def recorded(folder: str) -> str:
    """All that is recorded in ``folder``."""
    found = sorted((files.FOLDER / folder).glob("*.txt"))
    assert found, folder
    return "\n".join(path.read_text("utf-8") for path in found)


def routes() -> list[str]:
    document = json.loads(files.read("openapi.json"))
    return [f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods]


@cache
def statuses() -> Mapping[str, list[str]]:
    """The statuses with which requests to each route were answered; of one that goes on, ``200``."""
    found: dict[str, list[str]] = defaultdict(list)
    # A parameter is a part of a path, or else may have several.
    patterns = [
        {route: re.compile(re.sub(r"\\\{\w+\\\}", of_parameter, re.escape(route))) for route in routes()}
        for of_parameter in ("[^ ?/]+", "[^ ?]+")
    ]
    asked = re.compile(
        r"^> ([A-Z]+ [^ ?\n]+)(?:\?\S*)?(?:  \(to \w+\))?$\n(?:^> .*$\n)*(?:^< (\d+)|^  \(goes on)", re.MULTILINE
    )
    for request in asked.finditer(recorded("http")):
        fits = [[route for route, pattern in each.items() if pattern.fullmatch(request[1])] for each in patterns]
        if fitting := fits[0] or fits[1]:  # to a path with fewer parameters, as the host chooses
            found[min(fitting, key=lambda route: (route.count("{"), -len(route)))].append(request[2] or "200")
    return found


ONLY_REFUSED: Final = {"POST /v1/images/variations": "400", "GET /v1/images/files/{name}": "404"}
"""Routes of which only a refusal is recorded: one refuses everything, the other takes what is random."""


@pytest.mark.parametrize("route", routes())
def test_every_route_of_the_openapi_document_was_asked_and_has_answered(route: str) -> None:
    expected = ONLY_REFUSED.get(route, "2")
    assert any(status.startswith(expected) for status in statuses()[route]), statuses()[route]


@pytest.mark.parametrize("code", [leaf.code for leaf in leaves()])
def test_every_error_code_was_provoked_or_has_a_reason_why_not(code: str) -> None:
    over_http = f'"code": "{code}"' in recorded("http")
    by_command = re.search(rf"^# provokes: {code}\nexit status 1$", recorded("commands"), re.MULTILINE) is not None
    assert (over_http or by_command) != (code in UNPROVOKED)


def test_only_errors_of_setting_up_are_left_to_commands() -> None:
    left = {
        leaf for leaf in leaves() if leaf.code not in UNPROVOKED and f'"code": "{leaf.code}"' not in recorded("http")
    }
    assert {leaf for leaf in left if not issubclass(leaf, SetupError)} == set()


def test_every_error_has_its_answer() -> None:
    assert re.findall(r"^=== (\w+): ", files.read("error_answers.txt"), re.MULTILINE) == [
        leaf.code for leaf in leaves()
    ]


def sections(transport: str, era: str) -> dict[str, str]:
    """What is recorded of each server."""
    text = files.read(f"mcp/{transport}_{era}.txt")
    parts = re.split(r"^=== (\w+)$", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def answers_in(section: str) -> list[tuple[dict[str, Any], Any]]:
    """The requests of a section, each with its answer."""
    found = []
    for exchange in section.split("\n-> ")[1:]:
        line, _, rest = exchange.partition("\n")
        came = [
            json.loads(text)
            for text in re.split(r"^<- ", re.sub(r"^   .*$", _kept, rest, flags=re.MULTILINE), flags=re.MULTILINE)[1:]
        ]
        request = json.loads(line)
        found += [(request, answer) for answer in came if answer.get("id") == request.get("id", ...)]
    return found


def _kept(line: re.Match[str]) -> str:
    """A line of JSON, which is indented; of the lines about statuses nothing."""
    return "" if re.match(r"   \S", line[0]) else line[0]


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("face", FACES)
def test_every_tool_that_a_server_lists_was_called_there(transport: str, era: str, face: str) -> None:
    exchanges = answers_in(sections(transport, era)[face])
    listed = [answer["result"]["tools"] for request, answer in exchanges if request["method"] == "tools/list"]
    calls = [(request["params"]["name"], answer) for request, answer in exchanges if request["method"] == "tools/call"]
    worked = {name for name, answer in calls if answer.get("result", {}).get("isError") is False}
    assert listed
    assert {tool["name"] for tool in listed[0]} <= worked


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("face", FACES)
def test_every_server_was_asked_for_all_that_it_lists(transport: str, era: str, face: str) -> None:
    asked = {request["method"] for request, _ in answers_in(sections(transport, era)[face])}
    opening = "initialize" if era == "handshake" else "server/discover"
    assert {opening, "tools/list", "resources/list", "resources/templates/list", "prompts/list"} <= asked


def test_every_template_of_resources_was_read() -> None:
    for transport in TRANSPORTS:
        for era in ERAS:
            exchanges = answers_in(sections(transport, era)["all"])
            (listed,) = [answer for request, answer in exchanges if request["method"] == "resources/templates/list"]
            read = [
                request["params"]["uri"]
                for request, answer in exchanges
                if request["method"] == "resources/read" and "result" in answer
            ]
            for template in listed["result"]["resourceTemplates"]:
                address = template["uriTemplate"]
                if "://" in address:
                    pattern = re.sub(r"\\\{.*?\\\}", "[^ ]+", re.escape(address))
                    assert any(re.fullmatch(pattern, uri) for uri in read), (transport, era, address)


@pytest.mark.parametrize("words", [words for words, _ in commands()])
def test_every_command_was_run_and_succeeded(words: str) -> None:
    runs = re.findall(
        rf"^\$ modelhost {words}(?= |$).*\n(?:# .*\n)*exit status (\d+)$", recorded("commands"), re.MULTILINE
    )
    # `engines install` downloads an engine, which others need: only refusals can be recorded.
    assert "0" in runs or (words in ("engines install", "diffusion", "speech") and runs), runs


@pytest.mark.parametrize(
    "words",
    [
        words
        for words, command in commands()
        if any("--json" in each.opts and kind_of(each) == "flag" for each in command.params)
    ],
)
def test_every_command_that_prints_json_was_run_with_it(words: str) -> None:
    assert re.search(rf"^\$ modelhost {words} (?:.* )?--json(?= |$)", recorded("commands"), re.MULTILINE)


def test_every_command_of_the_program_is_in_the_recorded_tree() -> None:
    tree = files.read("commands/tree.txt")
    root: Any = get_command(app)
    groups = root.list_commands(None)
    assert {line.split()[1] for line in tree.splitlines() if line.startswith("modelhost ")} == {*groups, *FORMS}
    assert command_tree().count("\nmodelhost ") == len(list(commands()))


def test_no_file_is_recorded_that_no_topic_writes() -> None:
    source = (files.FOLDER.parent / "topics.py").read_text("utf-8")
    for path in files.FOLDER.rglob("*"):
        if path.is_file():
            name = path.relative_to(files.FOLDER).as_posix()
            assert name in source or re.sub(r"_(handshake|modern)\.txt$", "_{era}.txt", name) in source, name
    assert TOPICS
