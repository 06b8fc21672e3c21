"""Where the configuration file is, and what is in it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from modelhost.config import file
from modelhost.config.document import read_content
from modelhost.config.fields import Origin
from modelhost.config.file import DEFAULT_FILES
from modelhost.config.sources import EffectiveConfig, load
from modelhost.errors import ConfigError

BOMB = "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30))])
"""Each line means nine times as much as the one before it."""

UNQUOTED = "Expecting property name enclosed in double quotes"


def read(tmp_path: Path, text: str, name: str = "modelhost.yaml") -> dict[str, object]:
    (tmp_path / name).write_text(text)
    reading = file.read(Path(name), cwd=tmp_path)
    assert reading.problems == ()
    return {given.setting.key: given.value for given in reading.given}


@pytest.mark.parametrize("name", file.DEFAULT_NAMES)
def test_a_default_name_in_the_working_directory_is_found(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{}")
    assert file.find(None, environ={}, cwd=tmp_path) == Path(name)


def test_without_a_file_there_is_none(tmp_path: Path) -> None:
    assert file.find(None, environ={}, cwd=tmp_path) is None


def test_two_default_names_at_once_are_refused(tmp_path: Path) -> None:
    for name in ("modelhost.yaml", "modelhost.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(ConfigError, match=r"modelhost\.yaml and modelhost\.json are both here"):
        file.find(None, environ={}, cwd=tmp_path)


def test_the_flag_wins_over_the_variable_which_wins_over_the_default_name(tmp_path: Path) -> None:
    for name in ("modelhost.yaml", "a.yaml", "b.yaml"):
        (tmp_path / name).write_text("{}")
    environ = {"MODELHOST_CONFIG": "b.yaml"}
    assert file.find(Path("a.yaml"), environ=environ, cwd=tmp_path) == Path("a.yaml")
    assert file.find(None, environ=environ, cwd=tmp_path) == Path("b.yaml")


def test_a_named_file_that_is_not_there_is_an_error_that_says_who_named_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--config: there is no file x\.yaml$"):
        file.find(Path("x.yaml"), environ={}, cwd=tmp_path)
    with pytest.raises(ConfigError, match=r"^MODELHOST_CONFIG: there is no file y\.yaml$"):
        file.find(None, environ={"MODELHOST_CONFIG": "y.yaml"}, cwd=tmp_path)


def test_yaml_and_json_give_the_same_settings(tmp_path: Path) -> None:
    expected = {"port": 9, "alias": ("a", "b"), "engine_options": {"n": 1}}
    assert read(tmp_path, "port: 9\nalias: [a, b]\nengine_options:\n  n: 1\n") == expected
    as_json = '{"port": 9,\t"alias": ["a", "b"], "engine_options": {"n": 1}}'
    assert read(tmp_path, as_json, "modelhost.json") == expected


@pytest.mark.parametrize("name", ["modelhost.json", "modelhost.JSON", "host.jsonc", "host.json5"])
def test_json_may_have_comments_and_trailing_commas(tmp_path: Path, name: str) -> None:
    text = """// the host
{
  "port": 9, /* its port */
  "alias": ["https://not/a//comment", "b",],
}
"""
    assert read(tmp_path, text, name) == {"port": 9, "alias": ("https://not/a//comment", "b")}


@pytest.mark.parametrize(("name", "text"), [("modelhost.yaml", "port: 9"), ("modelhost.json", '{"port": 9}')])
def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path, name: str, text: str) -> None:
    assert read(tmp_path, f"\N{BYTE ORDER MARK}{text}", name) == {"port": 9}


@pytest.mark.parametrize("name", ["modelhost.yaml", "modelhost.json"])
@pytest.mark.parametrize("text", ["", "\n"])
def test_an_empty_file_gives_nothing(tmp_path: Path, name: str, text: str) -> None:
    assert read(tmp_path, text, name) == {}


@pytest.mark.parametrize(("name", "text"), [("modelhost.json", '{"port": 9}'), ("modelhost.yaml", "port: 9")])
def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path, name: str, text: str) -> None:
    assert read(tmp_path, f"\ufeff{text}", name) == {"port": 9}


def test_one_text_stands_for_a_list_of_one(tmp_path: Path) -> None:
    assert read(tmp_path, "lora: a,b.gguf") == {"lora": ("a,b.gguf",)}


def test_a_revision_that_looks_like_a_date_stays_text(tmp_path: Path) -> None:
    assert read(tmp_path, "revision: 2024-01-31") == {"revision": "2024-01-31"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.yaml", "prot: 1", 'c.yaml: unknown key "prot"; did you mean "port"?'),
        ("c.yaml", "context-length: 1", 'c.yaml: unknown key "context-length"; did you mean "context_length"?'),
        ("c.yaml", "xyzzy: 1", 'c.yaml: unknown key "xyzzy"'),
        ("c.yaml", "1: 1", 'c.yaml: unknown key "1"'),
        ("c.yaml", BOMB, "c.yaml: line 7, column 5: more than 200,000 values"),
        ("c.yaml", "host: " + "[" * 5000 + "]" * 5000, "c.yaml: line 1, column 70: nested deeper than 64 levels"),
        ("c.yaml", "host: &a [1, *a]", "c.yaml: line 1, column 14: a value that contains itself"),
        ("c.yaml", "# " + "x" * (1 << 20), "c.yaml: larger than 1 MiB"),
        ("c.json", '{"host": ' + "[" * 5000 + "]" * 5000 + "}", "c.json: nested deeper than 64 levels"),
        ("c.json", '{"host": ' + "[" * 64 + "]" * 64 + "}", "c.json: nested deeper than 64 levels"),
        ("c.yaml", "port: 1\nport: 2", 'c.yaml: "port" is given twice'),
        ("c.json", '{"port": 1, "port": 2}', 'c.json: "port" is given twice'),
        ("c.yaml", "- port", 'c.yaml: expected keys and values, such as "port: 8000"'),
        ("c.json", '{"port" 1}', 'c.json: line 1, column 9: unexpected "1"'),
        ("c.json", '{"port": 1 // the usual one\n"alias"', 'c.json: line 2, column 1: unexpected """'),
        ("c.json", '{"alias": "a\n"}', 'c.json: line 1, column 13: unexpected "\\n"'),
        ("c.json", '{"port": 1, /* again */ "port": 2}', 'c.json: "port" is given twice'),
        ("c.json", '{"port": ' + "[" * 5000, "c.json: nested deeper than 64 levels"),
        (
            "c.json",
            '{"port": 1, // ' + "x" * (64 << 10) + "\n}",
            f"c.json: line 1, column 13: {UNQUOTED}. (JSON5 may have 64 KiB, JSON more.)",
        ),
        ("c.yaml", "port: 1\n alias: b", "c.yaml: line 2, column 7: mapping values are not allowed here"),
        ("c.yaml", "port: \x01", "c.yaml: not YAML"),
        ("c.yaml", "? [a]\n: b", "c.yaml: line 1, column 3: found unhashable key"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_sentence(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    (found,) = file.read(Path(name), cwd=tmp_path).problems
    assert found.splitlines()[0].startswith(message)


def test_a_file_that_is_not_text_or_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes(b"\xff\xfe\x00")
    assert file.read(Path("c.yaml"), cwd=tmp_path).problems == ("c.yaml: not UTF-8 text",)
    assert file.read(tmp_path, cwd=tmp_path).problems == (f"{tmp_path}: Is a directory",)


def test_a_pipe_is_read_to_its_end_and_one_to_which_nobody_writes_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert read_content(pipe) == b""
    reader, writer = os.pipe()
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(read_content, Path(f"/dev/fd/{reader}"))
        os.write(writer, b"port: 1\n")
        os.close(writer)
        assert read.result() == b"port: 1\n"
    os.close(reader)


EVERY = [(key, name) for key, names in DEFAULT_FILES.items() for name in names]


def effective(cwd: Path, flags: Any = None, environ: Any = None, **more: Any) -> EffectiveConfig:
    return load(flags or {}, config_path=None, environ=environ or {}, cwd=cwd, **more)


@pytest.mark.promise("candle-vllm.injection")
@pytest.mark.parametrize(("key", "name"), EVERY)
def test_a_file_of_the_usual_name_is_found_and_its_origin_told(tmp_path: Path, key: str, name: str) -> None:
    assert getattr(effective(tmp_path).settings, key) is None
    (tmp_path / name).touch()
    found = effective(tmp_path)
    assert getattr(found.settings, key) == name
    assert found.origins[key] == Origin(kind="default file", name=name)
    assert str(found.origins[key]) == f"default file {name}"


def test_a_file_that_any_source_names_wins(tmp_path: Path) -> None:
    (tmp_path / "mcp.json").touch()
    (tmp_path / "modelhost.yaml").write_text("mcp_config: from-file.json\n")
    assert effective(tmp_path).settings.mcp_config == "from-file.json"
    by_environment = effective(tmp_path, environ={"MODELHOST_MCP_CONFIG": "from-environment.json"})
    assert by_environment.settings.mcp_config == "from-environment.json"
    assert effective(tmp_path, {"mcp_config": "flag.json"}).origins["mcp_config"].kind == "flag"


@pytest.mark.promise("candle-vllm.variables.mcp-config")
def test_candle_vllms_name_of_the_variable_counts(tmp_path: Path) -> None:
    found = effective(tmp_path, environ={"CANDLE_VLLM_MCP_CONFIG": "theirs.json"})
    assert found.settings.mcp_config == "theirs.json"
    assert found.origins["mcp_config"] == Origin(kind="environment", name="CANDLE_VLLM_MCP_CONFIG")


def test_two_usual_names_are_one_too_many_unless_one_is_named(tmp_path: Path) -> None:
    for name in ("models.yaml", "models.json"):
        (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=r"models\.yaml and models\.json are both here.*--models-config"):
        effective(tmp_path)
    assert effective(tmp_path, {"models_config": "models.json"}).settings.models_config == "models.json"


def test_only_the_files_that_are_wanted_are_looked_for(tmp_path: Path) -> None:
    for name in ("models.yaml", "mcp.json"):
        (tmp_path / name).touch()
    found = effective(tmp_path, default_files=("mcp_config",)).settings
    assert (found.models_config, found.mcp_config) == (None, "mcp.json")


def test_a_folder_of_that_name_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "mcp.json").mkdir()
    assert effective(tmp_path).settings.mcp_config is None
