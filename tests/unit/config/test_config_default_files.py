"""Files that are read without being named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelhost.config.default_files import DEFAULT_FILES
from modelhost.config.origins import Origin
from modelhost.config.sources import Effective, load
from modelhost.errors import ConfigError

EVERY = [(key, name) for key, names in DEFAULT_FILES.items() for name in names]


def effective(cwd: Path, flags: Any = None, environ: Any = None, **more: Any) -> Effective:
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
