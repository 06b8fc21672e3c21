"""``POST /v1/audio/speech``, as bytes or as events, ``GET /v1/audio/voices``, and ``GET /v1/audio/models``."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Scope

from modelhost.chat.parsing.parse import parsed
from modelhost.exchange.requests import SpeechRequest
from modelhost.exchange.sse import encode_event
from modelhost.http.endpoint import Endpoint, caller_of
from modelhost.http.exchange import OPENAI, Exchange
from modelhost.http.openai.audio.paths import MODELS, SPEECH, VOICES

if TYPE_CHECKING:
    from modelhost.chat.speech import Spoken
    from modelhost.host import Host

DONE: Final = encode_event({"type": "speech.audio.done"})
"""OpenAI's own has a usage in tokens, which these models do not have."""
SPEECH_EVENTS: Final = replace(OPENAI, end=DONE)


class SpeechEndpoint(Endpoint):
    """Speaks a text."""

    is_of_openai = True
    is_for_active_model = False

    def __init__(self, host: Host) -> None:
        super().__init__(host, "speech", SPEECH_EVENTS)

    async def respond(self, exchange: Exchange, scope: Scope, body: Any) -> None:
        request = parsed("speech", body)
        assert isinstance(request, SpeechRequest)
        async with self.host.open_speech(request, caller_of(scope), exchange.add_queue_position) as spoken:
            exchange.model = spoken.model
            if request.is_event_stream:
                async with exchange.event_stream():
                    await _write_events(exchange, spoken)
            else:
                async with exchange.byte_stream(spoken.content_type.encode()):
                    async for part in spoken.parts:
                        await exchange.write(part)


async def _write_events(exchange: Exchange, spoken: Spoken) -> None:
    async for part in spoken.parts:
        audio = base64.b64encode(part).decode()
        await exchange.write(encode_event({"type": "speech.audio.delta", "audio": audio}))
    await exchange.write(DONE)


class VoicesEndpoint(Endpoint):
    """Lists the voices of a model."""

    is_for_active_model = False

    def __init__(self, host: Host) -> None:
        super().__init__(host, "voices")

    async def work(self, exchange: Exchange, scope: Scope) -> None:
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        exchange.model = next(iter(query.get("model", ())), None)
        async with exchange.until_disconnected():
            voices = await self.host.voices(exchange.model, exchange.add_queue_position)
            exchange.model = voices.model
            named = [{"id": name, "name": name} for name in voices.names]
            await exchange.answer_json({"object": "list", "model": voices.model, "voices": named})


class SpeakingModelsEndpoint(Endpoint):
    """Lists the models that speak, in the shape in which Open WebUI reads them; loads none."""

    is_for_active_model = False

    def __init__(self, host: Host) -> None:
        super().__init__(host, "speaking_models")

    async def work(self, exchange: Exchange, scope: Scope) -> None:
        named = [{"id": model.name, "name": model.name} for model in self.host.models if model.can_do("speech")]
        await exchange.answer_json({"object": "list", "models": named})


def speech_endpoints(host: Host) -> dict[tuple[str, str], ASGIApp]:
    """Return the endpoints, by method and path."""
    return {
        ("POST", SPEECH): SpeechEndpoint(host),
        ("GET", VOICES): VoicesEndpoint(host),
        ("GET", MODELS): SpeakingModelsEndpoint(host),
    }
