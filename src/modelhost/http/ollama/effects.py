"""What becomes of each field of :mod:`modelhost.http.ollama.bodies`. Fields that say what an object is have no
entry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from modelhost.http.effects import Effect, Effects, engine, host, no_effect
from modelhost.http.ollama import bodies

_LOADED_WITH: Final = no_effect("Noted: no request has a model loaded again")
_REQUEST: Final[Mapping[str, Effect]] = {
    "model": host("The model that answers, with or without `:latest`; absent: the active one"),
    "keep_alive": host(
        "Idle seconds, or a duration, after which the model is unloaded; 0: at once; negative: only when its memory "
        "is needed. It holds until the model is unloaded. Pinned models stay"
    ),
}
_GENERATION: Final[Mapping[str, Effect]] = {
    **_REQUEST,
    "options": engine(),
    "stream": host("Absent: `true`"),
    "format": engine("`json`, or a JSON schema, against which the host checks the answer"),
    "think": engine(
        "Whether the model thinks first, or how much; absent: what its template does by itself. With `false`, no "
        "thinking is shown. Ignored and noted, where the model does not think or the engine has no such field"
    ),
    "truncate": no_effect("`true` is noted: a conversation that is too long is refused"),
    "shift": no_effect("`true` is noted: an answer ends where the context does"),
    "logprobs": engine(),
    "top_logprobs": engine("With `logprobs`"),
    "include_progress": host("Extension: a stream begins with `modelhost.queued` and `modelhost.loading`"),
}

EFFECTS: Final[Effects] = {
    bodies.ChatRequest: {
        **_GENERATION,
        "messages": engine("Empty: the model is loaded, or with a `keep_alive` of 0 unloaded"),
        "tools": engine("Tools of the client; with an empty list, as without one, the model gets the host's"),
        "tool_choice": host("Extension: as in a chat of OpenAI's API"),
        "mcp": host("Extension: selects the host's tools, as in a chat of OpenAI's API"),
        "session_id": host("Extension: the stored conversation that the messages continue"),
    },
    bodies.GenerateRequest: {
        **_GENERATION,
        "logprobs": engine("Ignored and noted with `raw` or `suffix`"),
        "prompt": engine("Empty, and no images: the model is loaded, or with a `keep_alive` of 0 unloaded"),
        "suffix": engine("Fills in what is before it, if the model was trained for that"),
        "system": engine("The first message; refused with `raw`, ignored and noted with `suffix`"),
        "template": no_effect("Noted: the model's own template is used, or with `raw` none. Refused with `raw`"),
        "raw": engine("The prompt is continued as it is"),
        "images": engine("For models that see; ignored and noted with `raw` or `suffix`"),
        "context": no_effect("Noted, and answers have none: `/api/chat` continues conversations"),
    },
    bodies.EmbedRequest: {
        **_REQUEST,
        "options": no_effect("Noted"),
        "input": engine("Empty: the model is loaded"),
        "truncate": host("`false`: a text that is too long is refused; otherwise its beginning is embedded"),
        "dimensions": host("Vectors are cut to so many numbers, and have a length of 1 again"),
    },
    bodies.EmbeddingsRequest: {
        **_REQUEST,
        "options": no_effect("Noted"),
        "prompt": engine("Empty: the model is loaded"),
    },
    bodies.Options: {
        "seed": engine("Negative: a random one"),
        "stop": engine("A text, or a list of texts"),
        "num_predict": engine("Below 1: no limit but the model's own"),
        **dict.fromkeys(("temperature", "top_k", "top_p", "min_p", "presence_penalty", "frequency_penalty"), engine()),
        "repeat_penalty": engine("Or as `repetition_penalty`, where the engine has either"),
        "repeat_last_n": engine("Where the engine has it; -1 has no effect"),
        **dict.fromkeys(("typical_p", "mirostat", "mirostat_tau", "mirostat_eta"), engine("Where the engine has it")),
        "num_keep": engine("As `n_keep`, where the engine has it"),
        "num_ctx": no_effect("Noted, if it is more than the context of the model: no request has it loaded again"),
        **dict.fromkeys(("num_batch", "num_gpu", "main_gpu", "num_thread", "draft_num_predict"), _LOADED_WITH),
        **dict.fromkeys(("use_mmap", "use_mlock", "low_vram", "numa"), _LOADED_WITH),
        "penalize_newline": no_effect("Noted: no engine has it any more"),
        "tfs_z": no_effect("Noted: no engine has it any more"),
    },
    bodies.Message: {
        "role": engine("In any case of letters"),
        "content": engine(),
        "thinking": engine("Reasoning of an earlier answer"),
        "images": engine("In base64, for models that see"),
        "tool_calls": engine("Calls in an earlier answer"),
        "tool_name": engine("Of a result: the tool"),
        "tool_call_id": engine("Of a result: the call; absent: the first call of the tool without a result"),
    },
    bodies.ToolCall: {"id": engine("Absent: the host numbers the calls"), "function": engine()},
    bodies.CalledFunction: {
        "name": engine(),
        "arguments": engine("An object, as in answers"),
        "index": no_effect("Calls are in their order"),
    },
    bodies.Tool: {"function": engine()},
    bodies.Function: {"name": engine(), "description": engine(), "parameters": engine()},
    bodies.NamedTool: {"function": host("The model sees only this tool")},
    bodies.ToolName: {"name": host()},
}
"""Of all objects of this API; the field ``mcp`` is that of a chat."""
