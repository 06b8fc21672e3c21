"""The engine vLLM: how it is started, what it makes of launch parameters, requests and errors."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelhost.config.settings import Settings
from modelhost.engines.adapters import Adapter, AdapterSelection
from modelhost.engines.launch import ModelSpec
from modelhost.engines.vllm.adapters import adapter_arguments
from modelhost.engines.vllm.engine import Vllm
from modelhost.engines.vllm.families import reasoning_parser, tool_parser
from modelhost.errors import (
    ConfigError,
    ContextLengthExceeded,
    EngineError,
    InvalidRequest,
    ModelhostError,
    UnsupportedOperation,
    UnsupportedParameter,
)
from modelhost.models.registry.likely_engine import likely_engine
from modelhost.models.resolve.resolve import resolve
from tests.support.adapter_files import write_peft_adapter

NANO_HF = Path(__file__).parents[3] / "assets" / "nano-hf"
SPEC = ModelSpec(name="m", path=Path("/models/m"), context_length=1000, slots=2, threads=3, cache_bytes=2_000_000)
VLLM = Vllm()


def _command(spec: ModelSpec = SPEC, **options: Any) -> list[str]:
    return list(VLLM.launch(replace(spec, options=options), "key").config["command"])


def _value(command: list[str], flag: str) -> str | None:
    return command[command.index(flag) + 1] if flag in command else None


def test_the_key_is_no_argument() -> None:
    launch = VLLM.launch(SPEC, "secret")
    assert launch.env["VLLM_API_KEY"] == "secret"
    assert "secret" not in " ".join((*launch.argv, *launch.config["command"]))


@pytest.mark.promise("mistralrs.models.paged-attention")
def test_the_cache_holds_what_the_slots_need_in_whole_blocks() -> None:
    command = _command()
    bytes_per_token = 1000
    assert _value(command, "--max-model-len") == "1000"
    assert _value(command, "--max-num-seqs") == "2"
    assert (
        2 * 1024 * bytes_per_token < int(_value(command, "--kv-cache-memory-bytes") or 0) < 3 * 1024 * bytes_per_token
    )
    spread = _command(tensor_parallel_size=2, pipeline_parallel_size=2)
    assert int(_value(spread, "--kv-cache-memory-bytes") or 0) < 1024 * bytes_per_token


def test_a_share_of_the_gpu_replaces_the_size_of_the_cache() -> None:
    command = _command(gpu_memory_utilization=0.5)
    assert _value(command, "--gpu-memory-utilization") == "0.5"
    assert "--kv-cache-memory-bytes" not in command


@pytest.mark.promise("vllm-mcp.gpu")
def test_a_cpu_runs_one_process_eagerly_and_a_gpu_as_vllm_likes() -> None:
    command = _command()
    assert _value(command, "--distributed-executor-backend") == "uni"
    assert "--enforce-eager" in command
    on_gpu = _command(replace(SPEC, gpus=dict.fromkeys((0, 1), 80 * 10**9)))
    assert "--distributed-executor-backend" not in on_gpu
    assert "--enforce-eager" not in on_gpu


def test_threads_on_a_cpu_do_not_spin_while_they_wait_unless_asked_to() -> None:
    env = VLLM.launch(SPEC, "key").env
    assert (env["OMP_NUM_THREADS"], env["OMP_WAIT_POLICY"]) == ("3", "PASSIVE")
    assert "OMP_WAIT_POLICY" not in VLLM.launch(replace(SPEC, gpus=(0,)), "key").env
    assert VLLM.launch(replace(SPEC, env={"OMP_WAIT_POLICY": "ACTIVE"}), "key").env["OMP_WAIT_POLICY"] == "ACTIVE"


def test_options_are_passed_on() -> None:
    options = {"quantization": "awq", "distributed_executor_backend": "ray", "ray_address": "head:6379"}
    launch = VLLM.launch(replace(SPEC, options={**options, "arguments": ["--seed", 7]}), "key")
    command = list(launch.config["command"])
    assert (_value(command, "--quantization"), _value(command, "--distributed-executor-backend")) == ("awq", "ray")
    assert launch.env["RAY_ADDRESS"] == "head:6379"
    assert command[-2:] == ["--seed", "7"]
    assert "--no-enable-prefix-caching" in _command(enable_prefix_caching=False)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"tensor_parallel_size": 0}, "tensor_parallel_size"),
        ({"gpu_memory_utilization": 1.5}, "gpu_memory_utilization"),
        ({"dtype": "int3"}, "dtype"),
        ({"distributed_executor_backend": "uni", "tensor_parallel_size": 2}, "distributed_executor_backend"),
        ({"tensor_paralel_size": 2}, "did you mean"),
    ],
)
def test_a_wrong_option_is_an_error_that_names_it(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        _command(**options)
    problems = VLLM.accept({"engine_options": options}).problems
    assert len(problems) == 1
    assert named in problems[0]


@pytest.mark.parametrize(
    "setting", [{"gpu_layers": 3}, {"lora": (Adapter(path=Path("a")),)}, {"kv_cache_type": "q8_0"}]
)
def test_what_it_cannot_honour_is_an_error(setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        _command(replace(SPEC, **setting))


def test_adapters_are_served_under_the_name_of_the_model_and_their_own(tmp_path: Path) -> None:
    adapters = tuple(
        Adapter(path=write_peft_adapter(tmp_path / name, seed=1), name=name) for name in ("pirate", "legal")
    )
    config = VLLM.launch(replace(SPEC, lora=adapters), "key").config
    arguments = adapter_arguments(config["adapters"], places=config["adapter_places"])
    assert arguments[:5] == ["--enable-lora", "--max-loras", "3", "--max-lora-rank", "8"]
    assert [json.loads(text) for text in arguments[6:]] == [
        {"name": "m:pirate", "path": str(tmp_path / "pirate")},
        {"name": "m:legal", "path": str(tmp_path / "legal")},
    ]
    on_gpu = VLLM.launch(replace(SPEC, lora=adapters, gpus=(0,)), "key").config
    assert on_gpu["adapter_places"] == 2
    assert adapter_arguments(VLLM.launch(SPEC, "key").config["adapters"], places=1) == []


@pytest.mark.parametrize(
    ("adapter", "says"),
    [
        (Adapter(path=Path("/a")), "write NAME=DIRECTORY"),
        (Adapter(path=Path("/a"), name="a", scale=0.5), r"as its adapter_config.json says \(lora_alpha\)"),
    ],
)
def test_an_adapter_that_it_cannot_apply_so_is_an_error(adapter: Adapter, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        _command(replace(SPEC, lora=(adapter,)))


def test_adapters_of_a_registry_need_names() -> None:
    assert VLLM.accept({"lora": ("a=/a",)}).settings == {"lora": ("a=/a",)}
    assert "write NAME=DIRECTORY" in VLLM.accept({"lora": ("a=/a", "/b")}).problems[0]


def test_a_request_has_one_adapter_as_strong_as_it_is() -> None:
    adapters = (Adapter(path=Path("/a"), name="a"), Adapter(path=Path("/b"), name="b"))

    def model(*scales: float) -> str:
        return str(VLLM.adapters.applied({"model": "m"}, AdapterSelection(adapters=adapters, scales=scales))["model"])

    assert (model(0, 0), model(1, 0), model(0, 1)) == ("m", "m:a", "m:b")
    with pytest.raises(InvalidRequest, match="one adapter to a request, not a, b together"):
        model(1, 1)
    with pytest.raises(InvalidRequest, match="applies a as strongly as its files say"):
        model(0.5, 0)


def test_launch_parameters_become_settings_and_options() -> None:
    accepted = VLLM.accept(
        {
            "context_length": 2048,
            "max_num_seqs": 4,
            "dtype": "bf16",
            "tensor_parallel_size": 2,
            "enforce_eager": True,
            "tool_call_parser": "mistral",
            "device_ids": [2, 3],
            "block_size": 32,
            "prompt_cache": {"enabled": True},
        }
    )
    assert accepted.problems == ()
    assert [warning.split('"')[1] for warning in accepted.warnings] == ["params.prompt_cache"]
    assert accepted.settings["engine_options"] == {
        "dtype": "bfloat16",
        "tensor_parallel_size": 2,
        "enforce_eager": "true",
        "tool_call_parser": "mistral",
        "arguments": ["--block-size", "32"],
    }
    assert (accepted.settings["context_length"], accepted.settings["max_slots"]) == (2048, 4)
    assert accepted.settings["worker_env"]["CUDA_VISIBLE_DEVICES"] == "2,3"
    assert VLLM.accept({"isq": "q4k"}).problems
    assert VLLM.accept({"dtype": "bf16", "engine_options": {"dtype": "float16"}}).problems


@pytest.mark.promise("vllm-mcp.in-process")
def test_safetensors_are_vllms_where_there_is_a_gpu_of_nvidias(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelhost.engines.installed.find_spec", lambda name: name)
    assert likely_engine(Settings(model=str(NANO_HF))) != "vllm"
    monkeypatch.setattr("modelhost.models.registry.likely_engine.has_driver", lambda: True)
    assert likely_engine(Settings(model=str(NANO_HF))) == "vllm"


def test_the_weights_are_shared_by_the_gpus_that_it_is_spread_over() -> None:
    settings = Settings(
        model=str(NANO_HF),
        engine="vllm",
        threads=1,
        worker_python="/elsewhere/python",
        engine_options={"tensor_parallel_size": 2},
    )
    assert resolve(settings, gpus=dict.fromkeys((0, 1, 2), 80 * 10**9)).need_bytes.keys() == {"ram", "gpu:0", "gpu:1"}
    assert resolve(settings).need_bytes.keys() == {"ram"}


HERMES = "{% if tools %}<tool_call>{% endif %}"
DEEPSEEK = "{% if tools %}<\uff5ctool\u2581calls\u2581begin\uff5c>{% endif %}"


@pytest.mark.parametrize(
    ("family", "template", "parser"),
    [
        ("qwen3", HERMES, "hermes"),
        ("llama", HERMES, "hermes"),
        ("qwen3_moe", HERMES + "<function=", "qwen3_coder"),
        ("llama", "{{ tools }} Environment: ipython", "llama3_json"),
        ("llama4", "{{ tools }} <|python_start|>", "llama4_pythonic"),
        ("mistral", "{{ tools }} [TOOL_CALLS]", "mistral"),
        ("deepseek_v3", DEEPSEEK, "deepseek_v31"),
        ("deepseek_v3", DEEPSEEK + "```json", "deepseek_v3"),
        ("gpt_oss", "{{ tools }}", "openai"),
        ("qwen3", "no calls", None),
        ("unheard_of", "{{ tools }}", None),
        ("qwen3", None, None),
    ],
)
def test_calls_are_read_as_the_template_writes_them(family: str, template: str | None, parser: str | None) -> None:
    assert tool_parser(family, template) == parser


@pytest.mark.parametrize(
    ("family", "template", "parser"),
    [
        ("qwen3", "<think> enable_thinking", "qwen3"),
        ("qwen3", "no thoughts", None),
        ("llama", "<think>", "deepseek_r1"),
        ("mistral", "[THINK]", "mistral"),
        ("qwen3", None, None),
    ],
)
def test_thoughts_are_read_where_the_template_has_them(family: str, template: str | None, parser: str | None) -> None:
    assert reasoning_parser(family, template) == parser


def test_a_required_call_has_bounds_that_vllm_enforces() -> None:
    tool = {"type": "function", "function": {"name": "add", "parameters": {"properties": {"a": {"type": "integer"}}}}}
    body = {"messages": [{"role": "user", "content": "x"}], "tools": [tool], "tool_choice": "required"}
    (sent,) = VLLM.adapt("chat", body)["tools"]
    assert sent["function"]["strict"] is True
    assert "maximum" in sent["function"]["parameters"]["properties"]["a"]
    assert "strict" not in tool["function"]
    (auto,) = VLLM.adapt("chat", {**body, "tools": [tool], "tool_choice": "auto"})["tools"]
    assert auto == tool


def test_tokens_go_by_the_names_of_both_sides() -> None:
    assert VLLM.adapt("tokenize", {"model": "m", "content": "a"}) == {
        "model": "m",
        "prompt": "a",
        "add_special_tokens": False,
    }
    assert json.loads(VLLM.convert_answer("tokenize", b'{"count": 1, "tokens": [3]}')) == {"tokens": [3]}
    told = b'{"count": 1, "tokens": [3], "token_strs": ["a"]}'
    assert json.loads(VLLM.convert_answer("tokenize", told)) == {"tokens": [3], "token_strs": ["a"]}
    assert json.loads(VLLM.convert_answer("detokenize", b'{"prompt": "a"}')) == {"content": "a"}
    with pytest.raises(UnsupportedParameter):
        VLLM.adapt("tokenize", {"model": "m", "content": "a", "parse_special": False})


def test_the_tokens_of_messages_are_those_of_a_chat() -> None:
    messages = [{"role": "user", "content": "a"}]
    body = {"model": "m", "messages": messages, "return_token_strs": True}
    assert VLLM.adapt("tokenize", dict(body)) == {**body, "add_generation_prompt": True}
    continued = VLLM.adapt("tokenize", {**body, "continue_final_message": True})
    assert (continued["continue_final_message"], continued["add_generation_prompt"]) == (True, False)


def test_thoughts_have_the_hosts_name_and_text_is_left_alone() -> None:
    block = b'data: {"choices":[{"delta":{"reasoning":"so \\"reasoning\\": x"}}]}\n\n'
    assert VLLM.convert_answer("chat", block) == block.replace(b'{"reasoning"', b'{"reasoning_content"')


@pytest.mark.parametrize(
    ("message", "param", "kind"),
    [
        (
            "This model's maximum context length is 512 tokens. However, your prompt contains 513 input tokens",
            "input_tokens",
            ContextLengthExceeded,
        ),
        (
            "This model's maximum context length is 512 tokens. However, your prompt contains 15050 characters (more",
            "input_text",
            ContextLengthExceeded,
        ),
        ("top_p must be in (0, 1], got 3.0. (parameter=top_p, value=3.0)", "top_p", InvalidRequest),
        (
            '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
            None,
            UnsupportedParameter,
        ),
        ("m is not a multimodal model", None, UnsupportedOperation),
    ],
)
def test_errors_are_ours(message: str, param: str | None, kind: type[ModelhostError]) -> None:
    error = VLLM.translate_error(400, {"error": {"message": message, "param": param}}, model="m", worker="w")
    assert type(error) is kind
    if isinstance(error, ContextLengthExceeded):
        assert (error.details["prompt_tokens"], error.details["context_length"]) == (513, 512)


def test_a_wrong_type_is_told_by_the_name_of_its_field() -> None:
    message = "1 validation error:\n  {'type': 'dict_type', 'msg': 'Input should be a valid dictionary', 'input': 'no'}"
    payload = {"error": {"message": message, "param": "body.chat_template_kwargs"}}
    error = VLLM.translate_error(400, payload, model="m", worker="w")
    assert (error.param, error.message) == (
        "chat_template_kwargs",
        "chat_template_kwargs: Input should be a valid dictionary",
    )


def test_a_failure_of_its_own_is_the_engines() -> None:
    assert isinstance(VLLM.translate_error(500, {"detail": "x"}, model="m", worker="w"), EngineError)
