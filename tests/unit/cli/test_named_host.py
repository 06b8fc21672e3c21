"""Which host and key count: those of options, of the environment, of ``.env``."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelhost.cli.main import main
from modelhost.cli.named_host import NamedHost, named_host


def dotenv(*lines: str) -> None:
    Path(".env").write_text("\n".join(lines))


def test_dotenv_names_the_host_and_its_key_where_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    assert named_host(None, None) == NamedHost(url=None, api_key=None)
    dotenv("MODELHOST_URL=http://box:1", "MODELHOST_API_KEY=a")
    assert named_host(None, None) == NamedHost(url="http://box:1", api_key="a")
    monkeypatch.setenv("MODELHOST_URL", "http://box:2")
    monkeypatch.setenv("MODELHOST_API_KEY", "b")
    assert named_host(None, None) == NamedHost(url="http://box:2", api_key="b")
    assert named_host("http://box:3", "c") == NamedHost(url="http://box:3", api_key="c")


def test_the_key_of_a_host_that_was_served_here_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    dotenv("MODELHOST_API_KEY=a")
    assert named_host(None, None) == NamedHost(url=None, api_key="a")
    assert named_host("http://box:3", None) == NamedHost(url="http://box:3", api_key="a")
    monkeypatch.setenv("MODELHOST_API_KEY", "b")
    assert named_host(None, None).api_key == "b"


def test_a_key_of_the_environment_is_not_sent_where_a_file_of_the_directory_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MODELHOST_API_KEY", "mine")
    dotenv("MODELHOST_URL=http://elsewhere:1")
    assert named_host(None, None) == NamedHost(url="http://elsewhere:1", api_key=None)
    assert named_host(None, "given").api_key == "given"
    assert named_host("http://box:3", None).api_key == "mine"


def test_a_key_is_in_no_representation() -> None:
    assert "sesame" not in repr(named_host("http://box:1", "sesame"))


def test_the_variables_of_vllms_mcp_server_count_in_dotenv_and_give_way_to_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dotenv("VLLM_MAX_MODEL_LEN=of-the-file")
    assert main(["mcp"]) == 1
    assert 'VLLM_MAX_MODEL_LEN: expected an integer of 16 or more, got "of-the-file"' in capsys.readouterr().err
    monkeypatch.setenv("VLLM_MAX_MODEL_LEN", "of-the-environment")
    assert main(["mcp"]) == 1
    assert 'got "of-the-environment"' in capsys.readouterr().err
