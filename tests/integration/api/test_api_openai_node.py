"""Speech and transcription as OpenAI's client for JavaScript sends them, with the scripted engine."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.mcp_peers import openai_for_node
from tests.support.serving import ServedHost

SECONDS: Final = 90
FORMATS: Final = ("mp3", "opus", "aac", "flac", "wav", "pcm")
CLIENT: Final = """
import { pathToFileURL } from "node:url";
const [library, url, formats] = JSON.parse(process.argv[2]);
const { OpenAI, toFile } = await import(pathToFileURL(library).href);
const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
const asked = { model: "scripted", voice: "two", input: "/echo one two three" };
const spoken = {};
for (const response_format of formats) {
  const answer = await openai.audio.speech.create({ ...asked, response_format });
  spoken[response_format] = [answer.headers.get("content-type"), Buffer.from(await answer.arrayBuffer()).toString()];
}
let streamed = "";
const answer = await openai.audio.speech.create(asked);
for await (const part of answer.body) streamed += Buffer.from(part).toString();
const told = (error) => [error.status, error.code, error.param];
const refused = await openai.audio.speech.create({ ...asked, voice: "three" }).catch(told);
const sound = () => toFile(Buffer.from("RIFF....WAVE/echo one two three"), "said.wav");
const heard = async (more) => openai.audio.transcriptions.create({ model: "scripted", file: await sound(), ...more });
const events = [];
for await (const event of await heard({ stream: true })) events.push([event.type, event.delta ?? event.text]);
const verbose = await heard({ response_format: "verbose_json", timestamp_granularities: ["word", "segment"] });
console.log(JSON.stringify({
  spoken,
  streamed,
  refused,
  json: (await heard({ language: "de" })).text,
  srt: await heard({ response_format: "srt" }),
  words: verbose.words.map((word) => word.word),
  segments: verbose.segments.length,
  events,
  translated: (await openai.audio.translations.create({ model: "scripted", file: await sound() })).text,
  damaged: await openai.audio.transcriptions
    .create({ model: "scripted", file: await toFile(Buffer.from("text"), "a.wav") })
    .catch(told),
}));
"""


@pytest.fixture(scope="module")
def seen(scripted_host: ServedHost, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the client got."""
    node, library = openai_for_node()
    script: Path = tmp_path_factory.mktemp("node") / "client.mjs"
    script.write_text(CLIENT, "utf-8")
    arguments = json.dumps([str(library), scripted_host.url, FORMATS])
    done = subprocess.run([node, str(script), arguments], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_speech_comes_in_each_format_whole_and_streamed(seen: dict[str, Any]) -> None:
    kinds = ("audio/mpeg", "audio/ogg", "audio/aac", "audio/flac", "audio/wav", "audio/pcm")
    assert seen["spoken"] == {name: [kind, "one two three"] for name, kind in zip(FORMATS, kinds, strict=True)}
    assert seen["streamed"] == "one two three"
    assert seen["refused"] == [400, "invalid_request", "voice"]


def test_transcripts_come_in_their_formats_and_as_events(seen: dict[str, Any]) -> None:
    assert seen["json"] == seen["translated"] == "one two three"
    assert seen["srt"].startswith("1\n00:00:00,000 --> 00:00:01,000\none\n")
    assert (seen["words"], seen["segments"]) == (["one", "two", "three"], 3)
    assert [kind for kind, _ in seen["events"]] == ["transcript.text.delta"] * 3 + ["transcript.text.done"]
    assert seen["events"][-1][1] == "one two three"
    assert seen["damaged"] == [400, "invalid_audio", "file"]
