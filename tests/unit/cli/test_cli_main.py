"""The command line as a process: versions, help, exit codes, what it imports."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer import Context
from typer.core import TyperGroup
from typer.main import get_command

from modelhost.cli.main import COMMANDS, app, main
from modelhost.version import __version__

OTHERS = ("modelhost.cli.talk.chat", "modelhost.cli.mcp", "modelhost.operations")
HEAVY = ("aiohttp", "fastapi", "gguf", "huggingface_hub", "numpy", "starlette", "uvicorn", "xllamacpp")


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "modelhost", *args]


def ended(argv: list[str], **kwargs: Any) -> subprocess.CompletedProcess[str]:
    """Run a process to its end, with its output as text."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **kwargs}
    return subprocess.run(argv, text=True, timeout=30, check=False, **streams)


def test_the_version_is_printed_by_the_module_too() -> None:
    process = ended(command("--version"))
    assert (process.returncode, process.stdout, process.stderr) == (0, f"modelhost {__version__}\n", "")


@pytest.mark.promise("candle-vllm.cli.help")
@pytest.mark.parametrize(
    "args",
    [[], ["serve"], ["ask"], ["chat"], ["config"], ["config", "show"], ["config", "check"]],
    ids=" ".join,
)
def test_every_command_has_help(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*args, "--help"]) == 0
    text = capsys.readouterr().out
    assert "Usage: modelhost" in text
    assert args == ["config"] or "Examples:" in text


def test_the_help_describes_each_command_as_its_own_help_does(capsys: pytest.CaptureFixture[str]) -> None:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    own = {name: group.get_command(Context(group), name) for name in COMMANDS}
    begins = {name: (one.help or "").split("\n\n")[0] for name, one in own.items() if one is not None}
    assert begins == {name: text for name, (_, text) in COMMANDS.items()}
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert [name for name in COMMANDS if f"│ {name} " not in shown] == []


def test_the_help_waits_for_no_command() -> None:
    code = (
        "import sys\nfrom modelhost.cli.main import main\nmain(['--help'])\n"
        "print(sorted({'pydantic', 'modelhost.config.settings', 'modelhost.cli.serve'} & sys.modules.keys()))"
    )
    assert ended([sys.executable, "-c", code]).stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_version_and_help_do_not_wait_for_heavy_libraries(option: str) -> None:
    code = (
        "import sys\nfrom modelhost.cli.main import main\n"
        f"code = main([{option!r}])\n"
        f"found = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "sys.exit(code or (repr(found) if found else 0))"
    )
    process = ended([sys.executable, "-c", code])
    assert process.returncode == 0, process.stderr


def test_a_command_does_not_wait_for_the_modules_of_others() -> None:
    code = (
        "import sys\nfrom modelhost.cli.main import main\n"
        "code = main(['serve', '--help'])\n"
        f"others = [name for name in {OTHERS!r} if name in sys.modules]\n"
        "sys.exit(code or (repr(others) if others else 0))"
    )
    process = ended([sys.executable, "-c", code])
    assert process.returncode == 0, process.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--prot", "3"], "--port"),
        (["--port", "3", "--queue-sise", "3"], "--queue-size"),
        (["--versoin"], "--version"),
        (["--xyzzy"], "No such option: --xyzzy"),
        (["--port", "3", "chat"], "--port before chat is an option of serve"),
    ],
    ids=" ".join,
)
def test_an_option_that_nothing_has_is_an_error_with_a_suggestion(
    args: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(args) == 2
    assert said in capsys.readouterr().err


def test_without_anything_to_serve_there_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    shown = capsys.readouterr()
    assert "Usage: modelhost [OPTIONS] COMMAND" in shown.out + shown.err


def test_an_unknown_command_is_an_error_with_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["srve"]) == 2
    assert "Did you mean 'serve'?" in capsys.readouterr().err


def test_an_error_is_one_line_without_a_traceback_and_exit_code_1(tmp_path: Path) -> None:
    process = ended(command("config", "show", "--port", "abc"), cwd=tmp_path)
    assert (process.returncode, process.stderr) == (1, 'error: --port: expected an integer, got "abc"\n')


def test_ctrl_c_in_an_answer_exits_130(host: Any) -> None:
    host.answer.stream = host.answer.stream[:1]
    host.answer.hold.clear()
    with subprocess.Popen(
        command("ask", "--url", host.url, "Hi"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(3) == "Hel"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors


def test_a_reader_that_stops_reading_is_no_traceback(host: Any) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        process = ended(command("ask", "--url", host.url, "Hi"), stdout=write_end)
    finally:
        os.close(write_end)
    assert process.returncode == 1
    assert "Traceback" not in process.stderr


@pytest.mark.parametrize(
    ("incomplete", "offered"),
    [
        ("modelhost se", "serve"),
        ("modelhost serve --engine ", "scripted"),
        ("modelhost --port 9000 --engine ", "scripted"),
    ],
)
def test_the_shell_completes_commands_and_choices(incomplete: str, offered: str) -> None:
    words = incomplete.split(" ")
    environ = {
        **os.environ,
        "_MODELHOST_COMPLETE": "complete_bash",
        "COMP_WORDS": incomplete,
        "COMP_CWORD": str(len(words) - 1),
    }
    assert offered in ended(command(), env=environ).stdout.split()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("args", [["--version"], ["config", "show"], ["--help"]], ids=" ".join)
def test_a_result_that_cannot_be_written_is_one_sentence(args: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        process = ended(command(*args), stdout=full)
    assert process.returncode == 1
    assert process.stderr.startswith("error: The operating system refused standard output")
    assert process.stderr.count("\n") == 1


def test_a_command_whose_output_is_closed_says_nothing() -> None:
    process = ended(["sh", "-c", 'exec "$0" "$@" >&-', *command("--version")])
    assert (process.returncode, process.stderr) == (0, "")


def test_without_a_home_directory_a_command_says_what_to_set() -> None:
    code = (
        "import pwd, sys\n"
        "def nobody(_): raise KeyError\n"
        "pwd.getpwuid = nobody\n"
        "from modelhost.cli.main import main\n"
        "sys.exit(main(['engines', 'list']))"
    )
    without = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_DATA_HOME")}
    process = ended([sys.executable, "-c", code], env=without)
    assert process.returncode == 1
    assert process.stderr.startswith("error: There is no home directory to keep data in: set HOME")
    assert process.stderr.count("\n") == 1
