"""The variables of vLLM's MCP server."""

from __future__ import annotations

import pytest

from modelhost.config.environment import OTHER_NAMES
from modelhost.config.vllm_environment import VARIABLES, VllmEnvironment, read_vllm_variables
from modelhost.errors import ConfigError

SEED = {
    "VLLM_MODEL_NAME": "Qwen/Qwen3-4B-GGUF",
    "VLLM_TENSOR_PARALLEL_SIZE": "1",
    "VLLM_GPU_MEMORY_UTILIZATION": "0.9",
    "VLLM_MAX_MODEL_LEN": "2048",
    "VLLM_DTYPE": "float16",
    "VLLM_DEFAULT_TEMPERATURE": "0.7",
    "VLLM_DEFAULT_MAX_TOKENS": "512",
    "VLLM_DEFAULT_TOP_P": "1.0",
    "VLLM_DEFAULT_TOP_K": "-1",
    "VLLM_LOG_LEVEL": "INFO",
}


@pytest.mark.promise("vllm-mcp.variables", "vllm-mcp.variables.model")
def test_all_variables_of_the_seed_are_read() -> None:
    read = read_vllm_variables(SEED)
    assert read == VllmEnvironment(
        is_set=True,
        model="Qwen/Qwen3-4B-GGUF",
        calls={
            "temperature": 0.7,
            "max_tokens": 512,
            "top_p": 1.0,
            "top_k": -1,
            "gpu_memory_utilization": 0.9,
            "max_model_len": 2048,
        },
        launch={"tensor_parallel_size": 1, "dtype": "float16"},
        settings={
            "model": "Qwen/Qwen3-4B-GGUF",
            "context_length": 2048,
            "gpu_memory_budget": "90%",
            "log_level": "info",
        },
    )
    assert set(SEED) == set(VARIABLES)
    assert {"VLLM_MAX_SESSIONS", "VLLM_MAX_SESSION_MESSAGES"} <= set(OTHER_NAMES)


def test_what_is_not_set_or_empty_says_nothing() -> None:
    assert read_vllm_variables({}) == read_vllm_variables(dict.fromkeys(SEED, " ")) == VllmEnvironment()


@pytest.mark.parametrize("name", [*SEED, "VLLM_MAX_SESSIONS", "VLLM_MAX_SESSION_MESSAGES"])
def test_one_variable_is_enough_for_them_to_be_set(name: str) -> None:
    assert read_vllm_variables({name: SEED.get(name, "5")}).is_set


def test_variables_of_the_library_are_none_of_them() -> None:
    assert not read_vllm_variables({"VLLM_LOGGING_LEVEL": "INFO", "VLLM_HOST_IP": "127.0.0.1"}).is_set


def test_a_setting_of_our_own_name_wins() -> None:
    read = read_vllm_variables({**SEED, "MODELHOST_MODEL": "other.gguf", "MODELHOST_LOG_LEVEL": "error"})
    assert read.settings.keys() == {"context_length", "gpu_memory_budget"}
    assert read.model == "Qwen/Qwen3-4B-GGUF"


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("VLLM_TENSOR_PARALLEL_SIZE", "0", 'expected an integer of 1 or more, got "0"'),
        ("VLLM_TENSOR_PARALLEL_SIZE", "two", 'expected an integer of 1 or more, got "two"'),
        ("VLLM_GPU_MEMORY_UTILIZATION", "0", 'expected a number above 0 and at most 1, got "0"'),
        ("VLLM_GPU_MEMORY_UTILIZATION", "90", 'expected a number above 0 and at most 1, got "90"'),
        ("VLLM_GPU_MEMORY_UTILIZATION", "nan", 'expected a number above 0 and at most 1, got "nan"'),
        ("VLLM_MAX_MODEL_LEN", "8", 'expected an integer of 16 or more, got "8"'),
        ("VLLM_DEFAULT_TEMPERATURE", "100.1", 'expected a number of 0 or more and at most 100, got "100.1"'),
        ("VLLM_DEFAULT_TEMPERATURE", "inf", 'expected a number of 0 or more and at most 100, got "inf"'),
        ("VLLM_DEFAULT_TOP_K", "-2", 'expected an integer of -1 or more, got "-2"'),
        ("VLLM_DTYPE", "float61", 'got "float61"; did you mean "float16"?'),
        ("VLLM_LOG_LEVEL", "TRACE", "expected one of DEBUG, INFO, WARNING, ERROR, CRITICAL"),
    ],
)
def test_a_bad_value_is_named_with_its_variable(name: str, value: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_vllm_variables({**SEED, name: value})
    assert caught.value.message.startswith(f"{name}: ")
    assert problem in caught.value.message


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ConfigError, match=r"(?s)2 problems:.*VLLM_DTYPE.*VLLM_DEFAULT_TOP_P"):
        read_vllm_variables({"VLLM_DTYPE": "int3", "VLLM_DEFAULT_TOP_P": "7"})


@pytest.mark.promise("vllm-mcp.variables.dtype", "vllm-mcp.variables.log-level")
def test_levels_and_types_are_read_in_any_case() -> None:
    assert read_vllm_variables({"VLLM_LOG_LEVEL": "debug", "VLLM_DTYPE": "BFloat16"}).settings == {"log_level": "debug"}


@pytest.mark.promise("vllm-mcp.variables.tensor-parallel")
def test_what_is_the_engines_business_are_launch_parameters() -> None:
    found = read_vllm_variables({"VLLM_TENSOR_PARALLEL_SIZE": "2", "VLLM_DTYPE": "bfloat16"})
    assert found.launch == {"tensor_parallel_size": 2, "dtype": "bfloat16"}
    assert read_vllm_variables({}).launch == {}


@pytest.mark.promise("vllm-mcp.variables.gpu-memory")
@pytest.mark.parametrize("share", ["0.05", "0.333", "1", "1.0"])
def test_a_share_of_the_memory_is_a_setting_that_is_understood(share: str) -> None:
    budget = read_vllm_variables({"VLLM_GPU_MEMORY_UTILIZATION": share}).settings["gpu_memory_budget"]
    assert float(budget.removesuffix("%")) == pytest.approx(float(share) * 100)
