"""``modelhost serve`` up to the door of the HTTP server, which is replaced here."""

from __future__ import annotations

from pathlib import Path

import pytest
import structlog

from modelhost.cli.main import main, run
from modelhost.cli.serve.flags import choose_model
from modelhost.config.fields import SETTINGS
from modelhost.config.settings import Settings
from modelhost.errors import ConfigError, ModelFileMissing, PortInUse
from modelhost.models.resolve.runtime import UnusedGpu
from tests.support.fake_serving import FakeServer


def test_without_arguments_the_defaults_are_served(server: FakeServer) -> None:
    assert main(["serve"]) == 0
    assert server.served == [Settings()]


@pytest.mark.promise("candle-vllm.flags.mcp-config", "mistralrs.run.mcp-config")
def test_every_setting_can_be_given_as_a_flag(server: FakeServer) -> None:
    samples = {"integer": "20", "number": "2.5", "text": "x", "list": "x", "mapping": "a=b"}
    own = {
        **dict.fromkeys(("memory_budget", "gpu_memory_budget", "kv_cache_memory"), "1GB"),
        "request_defaults": "temperature=0.5",
        "prompt_path": "/ask",
        "database_url": "sqlite:///x.db",
        "alerts": "gpu-hot=false",
        "metrics_history": "1s/1h",
        "alert_webhook": "http://x",
        "otlp_endpoint": "http://x",
    }
    argv = ["serve"]
    for setting in SETTINGS.values():
        sample = own.get(setting.key, samples.get(setting.kind, ""))
        value = setting.choices[-1] if setting.choices else sample
        flag = f"--no-{setting.flags[0].removeprefix('--')}" if setting.default is True else setting.flags[0]
        argv += [flag, *([] if setting.kind == "boolean" else [value])]
    assert main(argv) == 0
    given = server.served[0].model_dump(mode="json")
    assert [key for key, setting in SETTINGS.items() if given[key] == setting.default] == []


def test_flags_of_lists_are_repeated(server: FakeServer) -> None:
    flags = ["--alias", "a", "--alias", "b", "--lora", "x.gguf", "--lora", "y.gguf:0.5", "--api-key", "k,1"]
    assert main(["serve", *flags, "--engine-option", "n=1", "--engine-option", "m=2"]) == 0
    (settings,) = server.served
    assert (settings.alias, settings.lora) == (("a", "b"), ("x.gguf", "y.gguf:0.5"))
    assert [key.get_secret_value() for key in settings.api_keys] == ["k,1"]
    assert settings.engine_options == {"n": "1", "m": "2"}


@pytest.mark.promise("candle-vllm.cli.model", "candle-vllm.cli.path")
def test_the_short_forms_of_candle_vllm_work(server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "a.gguf").touch()
    assert run(["--m", "org/name", "--p", "2000"]) == 0
    assert run(["--w", "a.gguf", "--p", "2001"]) == 0
    assert [(settings.model, settings.port) for settings in server.served] == [("org/name", 2000), ("a.gguf", 2001)]


@pytest.mark.promise("candle-vllm.cli.model", "candle-vllm.cli.path", "candle-vllm.cli.mcp-config")
def test_options_without_a_command_mean_serve(server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    assert main(["--m", "org/name", "--p", "2000"]) == 0
    assert main(["--w", "dir", "--p=2001"]) == 0
    assert main(["--mcp-config", "tools.json", "org/other"]) == 0
    assert main(["--port", "2003", "serve", "org/name"]) == 0
    found = [(settings.model, settings.port, settings.mcp_config) for settings in server.served]
    assert found == [
        ("org/name", 2000, None),
        ("dir", 2001, None),
        ("org/other", 8000, "tools.json"),
        ("org/name", 2003, None),
    ]


@pytest.mark.promise("candle-vllm.variables.dotenv")
def test_settings_of_a_dotenv_file_are_served_and_told_to_who_debugs(
    server: FakeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".env").write_text("MODELHOST_PORT=2000\nMODELHOST_API_KEY=sesame-4711\n")
    with structlog.testing.capture_logs() as events:
        assert main(["serve"]) == 0
    assert server.served[0].port == 2000
    (told,) = [event for event in events if event["event"] == "dotenv_read"]
    assert (told["log_level"], told["file"], set(told["names"])) == (
        "debug",
        ".env",
        {"MODELHOST_PORT", "MODELHOST_API_KEY"},
    )
    assert main(["config", "show", "--json"]) == 0
    shown = capsys.readouterr()
    assert '"origin": ".env"' in shown.out
    assert "4711" not in f"{shown} {events}"


def test_a_gpu_that_the_model_does_not_run_on_is_told_in_one_line(
    server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve"]) == 0
    assert "GPU" not in capsys.readouterr().err
    way_out = "modelhost engines install llamacpp --build cuda"
    server.unused_gpu = UnusedGpu(name="NVIDIA L4", engine="llamacpp", way_out=way_out)
    assert main(["serve"]) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "GPU" in line]
    assert line.startswith("NVIDIA L4 is not used: llamacpp is installed in a build for CPUs, on which nano runs. ")
    assert line.endswith(f" {way_out}")


def test_the_model_is_the_one_argument(server: FakeServer) -> None:
    assert main(["serve", "org/name:Q4_K_M", "--port", "0"]) == 0
    assert server.served[0].model == "org/name:Q4_K_M"


def test_models_that_differ_are_refused_and_equal_ones_are_not(tmp_path: Path) -> None:
    here = tmp_path / "a.gguf"
    here.touch()
    assert choose_model(None, None, None) is None
    assert choose_model("a", "a", None) == "a"
    assert choose_model(None, None, here) == str(here)
    with pytest.raises(ConfigError, match=r"^MODEL a and --m b name different models"):
        choose_model("a", "b", None)
    with pytest.raises(ModelFileMissing, match="--w: there is no file or directory"):
        choose_model(None, None, tmp_path / "b.gguf")


def test_file_environment_and_flag_meet_in_their_order(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deploy.yaml").write_text("port: 1\nslots: 1\nqueue_size: 1\n")
    monkeypatch.setenv("MODELHOST_PORT", "2")
    monkeypatch.setenv("MODELHOST_SLOTS", "2")
    assert main(["serve", "--config", "deploy.yaml", "--port", "3"]) == 0
    (settings,) = server.served
    assert (settings.port, settings.slots, settings.queue_size) == (3, 2, 1)


def test_a_bad_configuration_is_printed_and_nothing_is_served(
    server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--port", "abc"]) == 1
    assert capsys.readouterr().err == 'error: --port: expected an integer, got "abc"\n'
    assert server.served == []


def test_an_unknown_variable_is_a_warning(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODELHOST_XYZZY", "1")
    assert main(["serve"]) == 0
    assert capsys.readouterr().err.startswith("warning: unknown environment variable MODELHOST_XYZZY\n")


def test_the_exit_code_of_the_server_is_that_of_the_command(server: FakeServer) -> None:
    server.exit_code = 3
    assert main(["serve"]) == 3


def test_an_error_of_the_server_is_a_sentence_and_exit_code_1(
    server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.error = PortInUse("127.0.0.1:8000 is taken")
    assert main(["serve"]) == 1
    assert capsys.readouterr().err == "error: 127.0.0.1:8000 is taken\n"


def test_an_error_that_is_not_ours_keeps_its_traceback(server: FakeServer) -> None:
    server.error = RuntimeError("a bug")
    with pytest.raises(RuntimeError, match="a bug"):
        main(["serve"])


def test_an_unknown_option_is_an_error_with_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--queue-sise", "3"]) == 2
    assert "--queue-size" in capsys.readouterr().err


def test_no_tools_means_no_servers_whoever_names_them(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mcp.json").write_text('{"mcpServers": {}}')
    assert main(["serve"]) == 0
    assert main(["serve", "--no-tools"]) == 0
    monkeypatch.setenv("MODELHOST_MCP_CONFIG", "mcp.json")
    assert main(["serve", "--no-tools"]) == 0
    assert [settings.mcp_config for settings in server.served] == ["mcp.json", None, None]


def test_no_tools_and_a_file_of_servers_contradict_each_other(
    server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--no-tools", "--mcp-config", "mcp.json"]) == 1
    assert "--no-tools leaves nothing for --mcp-config to do" in capsys.readouterr().err
    assert server.served == []
