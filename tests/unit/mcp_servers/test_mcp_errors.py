"""Errors of tools, in the shape that all tools share."""

from __future__ import annotations

import pytest

from modelhost.errors import (
    ConfigError,
    DownloadFailed,
    EngineMissing,
    HostFault,
    HostUnreachable,
    InsufficientMemory,
    InvalidRequest,
    ModelBusy,
    ModelFailed,
    ModelFileInvalid,
    ModelFileMissing,
    ModelhostError,
    ModelNotFound,
    ModelUnloaded,
    QueueTimeout,
    ShuttingDown,
    SystemLibraryMissing,
    UnsupportedParameter,
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
                "suggestion": 'Wait for its requests, or send `"force": true` to cancel them.',
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
        (WorkerStartFailed("No.", model="m", worker="w", reason="fault"), "WORKER_START_FAILED"),
        (WorkerStartFailed("No.", model="m", worker="w", out_of_memory=True), "INSUFFICIENT_MEMORY"),
        (ModelFailed("No."), "MODEL_FAILED"),
        (ModelFailed("No.", cause="model_file_invalid"), "MODEL_FILE_INVALID"),
        (ModelFailed("No.", cause="worker_start_failed", out_of_memory=True), "INSUFFICIENT_MEMORY"),
        (InsufficientMemory("No.", need_mb={"ram": 5, "gpu:0": 30}, missing_mb={"gpu:0": 12}), "INSUFFICIENT_MEMORY"),
        (ModelFileInvalid("No."), "MODEL_FILE_INVALID"),
        (ModelFileMissing("No."), "MODEL_FILE_MISSING"),
        (EngineMissing("No."), "ENGINE_MISSING"),
        (DownloadFailed("No."), "DOWNLOAD_FAILED"),
        (SystemLibraryMissing("No."), "SYSTEM_LIBRARY_MISSING"),
    ],
)
def test_what_keeps_a_model_from_being_loaded_has_one_code_and_its_cause(error: ModelhostError, reason: str) -> None:
    for tool in (None, "chat_completion", "load-model"):
        shown = error_result(error, tool=tool)["error"]
        assert (shown["code"], shown["details"]["reason"]) == ("MODEL_LOAD_FAILED", reason)
        assert "cause" not in shown["details"]


@pytest.mark.promise("vllm-mcp.errors.load")
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (WorkerStartFailed("No GPU.", model="m", worker="w", engine="vllm"), "Failed to initialize vLLM: No GPU."),
        (ModelFailed("Later.", engine="llamacpp"), "Failed to initialize llama.cpp: Later."),
        (ModelFailed("Later.", engine="scripted"), "Failed to initialize scripted: Later."),
        (DownloadFailed("It is gated."), "Failed to initialize the model: It is gated."),
        (ModelBusy("It is busy."), "It is busy."),
    ],
)
def test_what_is_not_initialized_is_told_in_the_words_of_vllms_server(error: ModelhostError, message: str) -> None:
    assert error_result(error)["error"]["message"] == message
    assert error_result(error, VALUES)["error"]["message"] == message


@pytest.mark.promise("vllm-crush.errors.load-reason")
@pytest.mark.parametrize(
    "error", [ConfigError("No."), QueueTimeout("No."), ModelUnloaded("No."), ShuttingDown("No.")], ids=type
)
def test_what_ends_a_load_is_a_failure_to_load_and_of_other_calls_what_it_is(error: ModelhostError) -> None:
    loading, other = (error_result(error, tool=tool)["error"] for tool in ("load-model", "model_info"))
    assert (loading["code"], loading["details"]["reason"]) == ("MODEL_LOAD_FAILED", error.code.upper())
    assert (other["code"], "reason" in other["details"]) == (error.code.upper(), False)


@pytest.mark.parametrize(
    "error",
    [
        ModelNotFound("No."),
        InvalidRequest("No."),
        UnsupportedParameter("No."),
        HostUnreachable("No."),
        HostFault("No."),
    ],
    ids=type,
)
def test_a_wrong_call_and_a_host_that_does_not_answer_are_no_failure_to_load(error: ModelhostError) -> None:
    assert error_result(error, tool="load-model")["error"]["code"] == error.code.upper()


def test_a_download_that_was_asked_for_fails_as_what_it_is() -> None:
    shown = error_result(DownloadFailed("No."), tool="pull-model")["error"]
    assert (shown["code"], shown["message"], "reason" in shown["details"]) == ("DOWNLOAD_FAILED", "No.", False)


def test_a_model_that_failed_before_is_advised_on_by_its_cause() -> None:
    details = error_result(ModelFailed("No.", cause="model_file_invalid"))["error"]["details"]
    assert details["suggestion"].startswith("Download or convert the file again")


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
    assert message.endswith("Reason: killed")
    assert "(current: 20)" in message
    assert "(current: 2048)" in message


def test_other_errors_do_not_speak_of_memory() -> None:
    assert error_result(ModelNotFound("No such."), VALUES)["error"]["message"] == "No such."
