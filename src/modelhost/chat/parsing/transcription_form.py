"""The form of ``/v1/audio/transcriptions`` and ``/v1/audio/translations``, as OpenAI defines it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from modelhost.chat.parsing.fields import NonEmpty, Number
from modelhost.chat.parsing.form_numbers import number_in
from modelhost.chat.parsing.problems import invalid_request
from modelhost.errors import InvalidRequest, UnsupportedParameter
from modelhost.exchange.requests import TranscriptionRequest

LISTS: Final = ("timestamp_granularities", "include")
FLAGS: Final = {"true": True, "1": True, "false": False, "0": False}
LONGEST_PROMPT: Final = 10_000
LANGUAGE: Final = r"^[a-z]{2,3}$"


def _stripped(value: Any) -> Any:
    """Forms are written by hand: a line break at the end of a text is none of it."""
    return value.strip() if isinstance(value, str) else value


def _language(value: Any) -> Any:
    """Check the form of a code, since a pattern alone would not say what to send."""
    text = _stripped(value)
    if isinstance(text, str) and not re.fullmatch(LANGUAGE, text):
        raise PydanticCustomError("language", 'it has to be a code of two or three small letters, such as "en"')
    return text


class TranscriptionForm(BaseModel):
    """The fields besides ``file``."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)

    model: str | None = None
    language: Annotated[str, Field(pattern=LANGUAGE), BeforeValidator(_language)] | None = Field(
        default=None, description="The language as a code, such as `en`. Default: recognized."
    )
    prompt: Annotated[str, Field(max_length=LONGEST_PROMPT)] | None = None
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt"] = "json"
    temperature: Annotated[Number, Field(ge=0, le=1)] = 0.0
    timestamp_granularities: list[Literal["word", "segment"]] = Field(
        default=["segment"], description="What `verbose_json` has times of. Repeated as `timestamp_granularities[]`."
    )
    stream: bool = False
    chunking_strategy: Literal["auto"] | None = Field(
        default=None, description="`auto`: silence is left out (voice activity detection)."
    )
    user: NonEmpty | None = None

    def request(self, file: bytes, *, is_translation: bool = False) -> TranscriptionRequest:
        return TranscriptionRequest(
            model=self.model,
            file=file,
            language=self.language,
            prompt=self.prompt,
            temperature=self.temperature,
            is_translation=is_translation,
            word_timestamps="word" in self.timestamp_granularities,
            vad=self.chunking_strategy == "auto",
        )


def parsed_form(given: Mapping[str, Sequence[str]]) -> TranscriptionForm:
    """Return the form with the texts ``given``, by field.

    Raises:
        UnsupportedParameter: there is no such field.
        InvalidRequest: ``param`` names the first field that is wrong.
    """
    values: dict[str, Any] = {}
    for sent, texts in given.items():
        name = sent.removesuffix("[]")
        if name not in TranscriptionForm.model_fields:
            raise UnsupportedParameter(f'The field "{sent}" is not supported for transcription.', param=sent)
        if name in LISTS:
            values[name] = list(texts)
        elif len(texts) > 1:
            raise InvalidRequest(f"{sent}: it is there {len(texts)} times; send it once.", param=sent)
        else:
            values[name] = _value(name, texts[0])
    return checked_form(values)


def checked_form(values: Mapping[str, Any]) -> TranscriptionForm:
    """Return the form with ``values``; raises as :func:`parsed_form`."""
    for name in values:
        if name not in TranscriptionForm.model_fields:
            raise UnsupportedParameter(f'The field "{name}" is not supported for transcription.', param=name)
    try:
        form = TranscriptionForm.model_validate(dict(values))
    except ValidationError as error:
        raise invalid_request(error, values) from None
    if form.stream and form.response_format not in ("json", "text"):
        raise InvalidRequest("response_format: a stream has text only; take json.", param="response_format")
    if "word" in form.timestamp_granularities and form.response_format != "verbose_json":
        raise InvalidRequest(
            "timestamp_granularities: words have times in verbose_json only.", param="timestamp_granularities"
        )
    return form


def _value(name: str, text: str) -> Any:
    if name == "stream":
        return FLAGS.get(text.lower(), text)
    return number_in(text) if name == "temperature" else text
