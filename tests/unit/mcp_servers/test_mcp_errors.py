"""Errors of tools, in the shape that all tools share."""

from __future__ import annotations

import pytest

from modelhost.errors import (
    InsufficientMemory,
    InvalidRequest,
    ModelBusy,
    ModelFailed,
    ModelhostError,
    ModelNotFound,
    WorkerStartFailed,
)
from modelhost.mcp_servers.errors import MemoryValues, error_result

VALUES = MemoryValues(gpu_memory_utilization=0.9, max_tokens=512)


@pytest.mark.promise("vllm-crush.errors")
def test_code_message_details_and_suggestion() -> None:
    assert error_result(ModelBusy("It is busy.", model="one")) == {
        "success": False,
        "error": {
            "code": "MODEL_BUSY",
            "message": "It is busy.",
            "details": {
                "model": "one",
                "suggestion": 'Wait for its requests, or send `"force": true` to cut them off.',
            },
        },
    }


def test_parameter_that_is_wrong_is_named() -> None:
    error = error_result(InvalidRequest("top_p: too large.", param="top_p"))["error"]
    assert (error["code"], error["details"]["param"]) == ("INVALID_REQUEST", "top_p")


@pytest.mark.promise("vllm-mcp.errors.load", "vllm-crush.errors.load-reason")
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (WorkerStartFailed("No.", model="m", worker="w"), "worker_start_failed"),
        (ModelFailed("No."), "model_failed"),
        (InsufficientMemory("No.", need_mb={"ram": 5, "gpu:0": 30}, missing_mb={"gpu:0": 12}), "insufficient_memory"),
    ],
)
def test_what_keeps_a_model_from_being_loaded_has_one_code(error: ModelhostError, reason: str) -> None:
    shown = error_result(error)["error"]
    assert (shown["code"], shown["details"]["reason"]) == ("MODEL_LOAD_FAILED", reason)


@pytest.mark.promise("vllm-crush.errors.load-failed")
def test_memory_that_is_missing_is_told_in_megabytes_with_the_way_out() -> None:
    error = InsufficientMemory("No.", required_mb=35, available_mb=23, suggestion="Give it a smaller context.")
    details = error_result(error)["error"]["details"]
    assert (details["required_mb"], details["available_mb"]) == (35, 23)
    assert details["suggestion"] == "Give it a smaller context."


@pytest.mark.promise("vllm-mcp.errors.memory", "vllm-mcp.trouble.memory")
def test_want_of_memory_says_what_to_lower_and_how_high_it_is() -> None:
    error = InsufficientMemory("m does not fit.", need_mb={"gpu:0": 30}, missing_mb={"gpu:0": 12})
    shown = error_result(error, VALUES)["error"]
    assert shown["message"].startswith(
        "CUDA out of memory. Try: 1) Reduce VLLM_GPU_MEMORY_UTILIZATION (current: 0.9), "
        "2) Use a smaller max_tokens (current: 512), 3) Reduce VLLM_MAX_MODEL_LEN (current: the model's own), "
    )
    assert shown["message"].endswith("m does not fit.")
    assert shown["details"]["suggestion"].startswith("Try: 1) Reduce VLLM_GPU_MEMORY_UTILIZATION (current: 0.9), ")


@pytest.mark.promise("vllm-mcp.errors.memory")
def test_want_of_memory_without_a_gpu_is_not_called_cudas() -> None:
    error = WorkerStartFailed("killed", model="m", worker="w", out_of_memory=True)
    values = MemoryValues(gpu_memory_utilization=0.5, max_tokens=20, max_model_len=2048)
    message = error_result(error, values)["error"]["message"]
    assert message.startswith("Out of memory. Try: 1) Reduce VLLM_GPU_MEMORY_UTILIZATION (current: 0.5)")
    assert "(current: 20)" in message
    assert "(current: 2048)" in message


def test_other_errors_do_not_speak_of_memory() -> None:
    assert error_result(ModelNotFound("No such."), VALUES)["error"]["message"] == "No such."
