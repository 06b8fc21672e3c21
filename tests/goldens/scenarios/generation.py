"""Generation with the scripted engine: whole and streamed."""

from __future__ import annotations

from typing import Any, Final

from tests.goldens.http_scenarios import CHAT, Scenario, chat, one

WEATHER: Final[dict[str, Any]] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CODE: Final[dict[str, Any]] = {
    "type": "custom",
    "custom": {
        "name": "code",
        "description": "Runs a program.",
        "format": {"type": "grammar", "grammar": {"syntax": "regex", "definition": "print.*\\s"}},
    },
}
CUSTOM_CALL: Final = '/call code {"input": "print(1)\\n"}'
CALL: Final = '/call weather {"city": "Paris"}'
COMPLETIONS: Final = "POST /v1/completions"
SPEECH: Final = "POST /v1/audio/speech"
TRANSCRIPT: Final = "POST /v1/audio/transcriptions"
IMAGES: Final = "POST /v1/images/generations"
EDITS: Final = "POST /v1/images/edits"
PNG: Final = "iVBORw0KGgo="
"""The signature of a PNG, which is enough for the scripted engine."""
FORM: Final = {"Content-Type": "multipart/form-data; boundary=part"}


def form(said: str, *, head: str = "RIFF....WAVE", **fields: str) -> str:
    """A form with a file; the scripted engine replies to what follows its signature."""
    parts = {f'name="{name}"': value for name, value in fields.items()}
    parts['name="file"; filename="said.wav"'] = head + said
    written = (f"--part\r\nContent-Disposition: form-data; {name}\r\n\r\n{value}\r\n" for name, value in parts.items())
    return f"{''.join(written)}--part--\r\n"


AS_AUDIO: Final = {"modalities": ["text", "audio"], "audio": {"voice": "two", "format": "mp3"}}
STREAMED_AUDIO: Final = {"modalities": ["text", "audio"], "audio": {"format": "pcm16"}, "stream": True}
NO_VOICE: Final = {"voice": "three", "format": "mp3"}
SAID_AUDIO: Final = ({"role": "user", "content": "Hi"}, {"role": "assistant", "audio": {"id": "audio_none"}})
WITH_USAGE: Final = {"stream": True, "stream_options": {"include_usage": True}}

CHATS: Final[tuple[Scenario, ...]] = (
    one("whole", CHAT, chat("/echo one two")),
    one("streamed", CHAT, chat("/echo one two", stream=True)),
    one("streamed with usage", CHAT, chat("/echo one two", **WITH_USAGE)),
    one("as audio", CHAT, chat("/echo /echo one two", **AS_AUDIO)),
    one("as audio, streamed", CHAT, chat("/echo /echo one two", **STREAMED_AUDIO)),
    one("as audio with a voice that there is not", CHAT, chat("/echo one", **{**AS_AUDIO, "audio": NO_VOICE})),
    one("as audio without its format", CHAT, chat("/echo one", modalities=["text", "audio"])),
    one("audio that there is not", CHAT, {"messages": [*SAID_AUDIO, {"role": "user", "content": "Hello"}]}),
    one("model by its alias", CHAT, chat("/echo one", model="other")),
    one("two choices", CHAT, chat("/echo one", n=2)),
    one("logprobs", CHAT, chat("/echo one", logprobs=True)),
    one("logprobs streamed", CHAT, chat("/echo one", logprobs=True, stream=True)),
    one("at most one token", CHAT, chat("/echo one two", max_tokens=1)),
    one("stop", CHAT, chat("/echo one two three", stop=["two"])),
    one("reasoning", CHAT, chat("think first")),
    one("reasoning streamed", CHAT, chat("think first", stream=True)),
    one("call of the client's tool", CHAT, chat(CALL, tools=[WEATHER])),
    one("call of the client's tool streamed", CHAT, chat(CALL, tools=[WEATHER], stream=True)),
    one("call of the client's custom tool", CHAT, chat(CUSTOM_CALL, tools=[CODE])),
    one("call of the client's custom tool streamed", CHAT, chat(CUSTOM_CALL, tools=[CODE], stream=True)),
    one("call that must be", CHAT, chat("/echo no", tools=[WEATHER], tool_choice="required")),
    one("answer of a tool", CHAT, {
        "messages": [
            {"role": "user", "content": "/echo sunny"},
            {"role": "assistant", "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
            ]},
            {"role": "tool", "tool_call_id": "c1", "content": "Sun."},
        ],
        "tools": [WEATHER],
    }),
)  # fmt: skip

OTHERS: Final[tuple[Scenario, ...]] = (
    one("completion whole", COMPLETIONS, {"prompt": "/echo one two"}),
    one("completion streamed", COMPLETIONS, {"prompt": "/echo one two", **WITH_USAGE}),
    one("completion behind its prompt", COMPLETIONS, {"prompt": "/echo one two", "echo": True}),
    one("completion behind its prompt streamed", COMPLETIONS, {"prompt": "/echo one", "echo": True, **WITH_USAGE}),
    one("log probabilities of a prompt", COMPLETIONS, {"prompt": "/echo one two", "echo": True, "logprobs": 1}),
    one("text before other text", COMPLETIONS, {"prompt": "/echo one", "suffix": "three"}),
    one("text before other text for llama.vim", "POST /infill", {"input_prefix": "/echo one", "input_suffix": "three"}),
    one("embeddings", "POST /v1/embeddings", {"input": ["hello", "world"]}),
    one("rerank", "POST /v1/rerank", {"query": "llama", "documents": ["a llama", "a stone"]}),
    one("rerank at its other address", "POST /rerank", {"query": "llama", "documents": ["a llama", "a stone"]}),
    one("tokenize", "POST /tokenize", {"content": "hello world"}),
    one("tokenize messages", "POST /tokenize", {"messages": [{"role": "user", "content": "hello world"}]}),
    one("detokenize", "POST /detokenize", {"tokens": [1, 2]}),
    one("speech", SPEECH, {"input": "/echo one two", "voice": {"id": "two"}, "response_format": "opus"}),
    one("speech as events", SPEECH, {"input": "/echo one two", "stream_format": "sse"}),
    one("speech of nothing", SPEECH, {"input": "..."}),
    one("speech with a voice that there is not", SPEECH, {"input": "one", "voice": "three"}),
    one("voices", "GET /v1/audio/voices"),
    one("models that speak", "GET /v1/audio/models"),
    one("transcript", TRANSCRIPT, form("/echo one two"), headers=FORM),
    one("transcript as events", TRANSCRIPT, form("/echo one two", stream="true"), headers=FORM),
    one("transcript as subtitles", TRANSCRIPT, form("/echo one two", response_format="srt"), headers=FORM),
    one("transcript with times", TRANSCRIPT, form("/echo one", response_format="verbose_json"), headers=FORM),
    one("transcript of nothing", TRANSCRIPT, form("", head=""), headers=FORM),
    one("translation", "POST /v1/audio/translations", form("/echo one two"), headers=FORM),
    one("images", IMAGES, {"prompt": "/echo one two", "n": 2, "seed": 1, "size": "64x128", "output_format": "webp"}),
    one("image as events", IMAGES, {"prompt": "/echo one two", "seed": 1, "stream": True, "partial_images": 1}),
    one("image with its steps", IMAGES, {"prompt": "/echo one two", "seed": 1, "stream": True, "progress": True}),
    one("image of a size that there is not", IMAGES, {"prompt": "one", "size": "63x64"}),
    one("image with a field that there is not", IMAGES, {"prompt": "one", "sharpness": 1}),
    one("image edited", EDITS, {"prompt": "/echo one", "image": PNG, "strength": 0.5, "seed": 1}),
    one("image edited without one", EDITS, {"prompt": "one"}),
    one("image edited that is none", EDITS, {"prompt": "one", "image": "AAAA"}),
    one("variations", "POST /v1/images/variations", {}),
    one("image at a URL that nobody signed", "GET /v1/images/files/a.png?expires=1&signature=0"),
)

NANO: Final[tuple[Scenario, ...]] = (
    one("chat whole", CHAT, chat("Hello!", temperature=0, max_tokens=4)),
    one("chat streamed", CHAT, chat("Hello!", temperature=0, max_tokens=4, **WITH_USAGE)),
    one("chat as JSON", CHAT, chat(
        "Hello!", temperature=0, max_tokens=40,
        response_format={"type": "json_schema", "json_schema": {
            "name": "yes", "schema": {"type": "object", "properties": {"yes": {"const": True}}, "required": ["yes"]},
        }},
    )),
    one("completion whole", COMPLETIONS, {"prompt": "Hello", "temperature": 0, "max_tokens": 4}),
    one("completion streamed", COMPLETIONS, {"prompt": "Hello", "temperature": 0, "max_tokens": 4, "stream": True}),
    one("prompts alone", COMPLETIONS, {"prompt": [[5, 6], [7]], "max_tokens": 0, "echo": True}),
    one("text before other text, with a model that cannot", "POST /infill", {"input_prefix": "a", "input_suffix": "b"}),
    one("embeddings", "POST /v1/embeddings", {"input": "hello"}),
    one("chat that tells its usage as it goes", CHAT, chat(
        "Hello!", temperature=0, max_tokens=2, stream=True,
        stream_options={"include_usage": True, "continuous_usage_stats": True},
    )),
    one("chat that ends at a token", CHAT, chat("Hello!", temperature=0, max_tokens=40, stop_token_ids=[342])),
    one("regular expression that looks around", CHAT, chat("Hello!", guided_regex="a(?=b)")),
    one("tokenize", "POST /tokenize", {"content": "hello"}),
    one("tokenize messages", "POST /tokenize", {
        "messages": [{"role": "user", "content": "hello"}], "return_token_strs": True,
    }),
    one("detokenize", "POST /detokenize", {"tokens": [5, 6]}),
    one("operation that the model has not", "POST /v1/rerank", {"query": "llama", "documents": ["a llama"]}),
    one("prompt that does not fit", CHAT, chat("word " * 2000)),
    one("grammar that is none", CHAT, chat("Hello!", grammar="root ::= [a-z")),
    one("list of models", "GET /v1/models"),
    one("info of the model", "GET /v1/models/modelhost-nano/info"),
)  # fmt: skip
