"""Chat, speech and transcription as tools: their parameters and results, and the operation ``model_info``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import AliasChoices, ConfigDict, Field

from modelhost.config.request_defaults import HIGHEST_TEMPERATURE
from modelhost.config.value_types import parse_size
from modelhost.errors import DatabaseUnavailable, ModelNotFound
from modelhost.operations.operation import HttpRoute, OnProgress, Operation, Parameters, Result
from modelhost.operations.reports import HostCondition, host_condition_of

if TYPE_CHECKING:
    from modelhost.host import Host

VLLM_MCP_DEFAULTS: Final = {"temperature": 0.7, "max_tokens": 512, "top_p": 1.0, "top_k": -1}
"""Defaults of ``chat_completion``, for what neither the call, the server nor the model sets."""
CHAT: Final = "chat_completion"
"""The name of the tool; over HTTP it is OpenAI's endpoint."""

Model = Annotated[
    str | None,
    Field(
        min_length=1,
        description="A model of the host: its name or an alias. Default: the active model.",
        validation_alias=AliasChoices("model", "model_id"),
    ),
]


class ChatMessage(Parameters):
    """One message of a conversation. What else it holds is OpenAI's."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[dict[str, Any]] | None = Field(default=None, description="The text, or OpenAI content parts.")


class ChatParameters(Parameters):
    """A conversation to be answered."""

    messages: list[ChatMessage] = Field(
        min_length=1, description="The conversation; in a session, only the new messages, usually one of the user."
    )
    session_id: str | None = Field(
        default=None,
        min_length=1,
        max_length=256,
        description="A conversation that the host stores, under an id of your choice.",
    )
    temperature: float | None = Field(
        default=None,
        ge=0,
        le=HIGHEST_TEMPERATURE,
        description="Sampling temperature: 0 for the most likely answer, higher for more variety.",
    )
    max_tokens: int | None = Field(default=None, ge=1, description="Maximum length of the answer, in tokens.")
    top_p: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Sample from the most likely tokens whose probabilities add up to this value.",
    )
    top_k: int | None = Field(
        default=None, ge=-1, description="Sample from this many of the most likely tokens; -1 for all."
    )
    seed: int | None = Field(default=None, description="The same seed and conversation give the same answer.")
    model: Model = None


class ExecutedCall(Result):
    """A call of one of the host's own tools, made on the way to the answer."""

    id: str
    name: str
    arguments: Any = None
    server: str | None = Field(default=None, description="The MCP server of the tool.")
    is_error: bool = False
    text: str = Field(default="", description="The result of the tool.")


class ChatResult(Result):
    """An answer."""

    content: str
    model: str
    session_id: str | None
    finish_reason: str = Field(description="`stop`, or `length` if the answer is cut off.")
    usage: dict[str, Any] | None = Field(description="Tokens, as OpenAI counts them.")
    tool_calls: list[ExecutedCall]
    missing_servers: list[str] = Field(
        default_factory=list, description="MCP servers of the host whose tools were unavailable to the model."
    )


class ModelInfoParameters(Parameters):
    """A model."""

    model: Model = None


class ServedModel(Result):
    """The model that answers, and the settings of its server."""

    model_name: str
    dtype: str = Field(
        description="Number format in force, such as `float16`, or the quantization of its files, such as "
        "`Q4_K_M`; `auto` if the engine chooses it, or its files are not on this machine."
    )
    max_model_len: int | None = Field(
        description="Maximum tokens per conversation; `null` if its files are not on this machine."
    )
    tensor_parallel_size: str
    gpu_memory_utilization: str = Field(description="The share of each GPU's memory that all models together may use.")
    server_state: HostCondition = Field(
        description="The model's state; `error` if it failed, or cannot be loaded at present."
    )
    active_sessions: int
    max_sessions: int
    max_session_messages: int
    default_temperature: float
    default_max_tokens: int


async def _info(host: Host, parameters: ModelInfoParameters, _on_progress: OnProgress) -> ServedModel:
    name = host.find(parameters.model).name
    await host.refresh_previews()
    model = next(model for model in host.status().models if model.name == name)
    settings = host.settings
    return ServedModel(
        model_name=name,
        dtype=model.dtype or model.quantization or "auto",
        max_model_len=model.context_length,
        tensor_parallel_size=str(model.engine_options.get("tensor_parallel_size", 1)),
        gpu_memory_utilization=_utilization(settings.gpu_memory_budget),
        server_state=host_condition_of(model),
        active_sessions=await host.state.sessions.count(),
        max_sessions=settings.max_sessions,
        max_session_messages=settings.max_session_messages,
        default_temperature=model.defaults.get("temperature", VLLM_MCP_DEFAULTS["temperature"]),
        default_max_tokens=model.defaults.get("max_tokens", VLLM_MCP_DEFAULTS["max_tokens"]),
    )


def _utilization(budget: str | None) -> str:
    """Return a GPU memory budget in vLLM's form: ``80%`` as ``0.8``; an amount is unchanged."""
    if budget is None:
        return "0.9"
    share = parse_size(budget).share
    return budget if share is None else f"{share:g}"


MODEL_INFO: Final = Operation(
    name="model_info",
    summary="Show the model that answers, and its settings",
    work=_info,
    route=HttpRoute(method="GET", path="/v1/llm/info"),
    area="llm",
    errors=(ModelNotFound, DatabaseUnavailable),
    audited=("model",),
    answer={
        "model_name": "qwen",
        "dtype": "Q4_K_M",
        "max_model_len": 16384,
        "tensor_parallel_size": "1",
        "gpu_memory_utilization": "0.9",
        "server_state": "ready",
        "active_sessions": 3,
        "max_sessions": 100,
        "max_session_messages": 50,
        "default_temperature": 0.7,
        "default_max_tokens": 512,
    },
)


SPEAK: Final = "speak"
TRANSCRIBE: Final = "transcribe"
"""The names of the tools; over HTTP they are OpenAI's endpoints."""
MEDIA_TYPES: Final = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
}


def _model(task: str) -> Any:
    return Annotated[
        str | None,
        Field(
            min_length=1,
            description=f"A model that {task}: its name or an alias. Default: the first that does.",
            validation_alias=AliasChoices("model", "model_id"),
        ),
    ]


class SpeakParameters(Parameters):
    """A text to speak."""

    input: str = Field(min_length=1, description="The text to speak.", validation_alias=AliasChoices("input", "text"))
    voice: str | None = Field(
        default=None, min_length=1, description="A voice of the model. Default: its first; the error names them all."
    )
    response_format: Literal["mp3", "opus", "aac", "flac", "wav"] = Field(
        default="mp3",
        description="The format of the audio. Default: mp3.",
        validation_alias=AliasChoices("response_format", "format"),
    )
    speed: float | None = Field(default=None, ge=0.25, le=4, description="1 is the voice's own speed.")
    model: _model("speaks") = None  # type: ignore[valid-type]


class SpokenResult(Result):
    """What was spoken; the audio itself is content of the result."""

    model: str
    mime_type: str
    size_bytes: int


class _TranscribeOptions(Parameters):
    language: str | None = Field(default=None, description="The language as a code, such as `en`. Default: recognized.")
    prompt: str | None = Field(default=None, description="A text before the sound, for names and style.")
    model: _model("transcribes") = None  # type: ignore[valid-type]


class TranscribeParameters(_TranscribeOptions):
    """Sound to transcribe."""

    file: str = Field(min_length=1, description="The sound file, such as MP3 or WAV, in base64 or as a data URL.")


class TranscribeFileParameters(_TranscribeOptions):
    """Sound to transcribe, also in a file of this machine."""

    path: str | None = Field(
        default=None, min_length=1, description="The path of a sound file on this machine, such as MP3 or WAV."
    )
    file: str | None = Field(
        default=None, min_length=1, description="Instead of `path`: the sound file in base64 or as a data URL."
    )


class SpokenSegment(Result):
    """A part of the sound; times are seconds."""

    start: float
    end: float
    text: str


class TranscribeResult(Result):
    """A transcript."""

    text: str
    model: str
    language: str | None = Field(description="A code, given or recognized.")
    duration: float = Field(description="The length of the sound, in seconds.")
    segments: list[SpokenSegment]
