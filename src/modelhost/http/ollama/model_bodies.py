"""The bodies of requests of Ollama's API about models.

Source: https://github.com/ollama/ollama/blob/main/docs/api.md, and the types of its package ``api``.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field

from modelhost.config.request_defaults import LARGEST_COUNT
from modelhost.http.ollama.bodies import Options, lower
from modelhost.http.validation import Lenient

LARGEST_CONTEXT: Final = 1 << 24
"""Tokens. No model was made for more, and no memory would hold them."""
Digest = Annotated[str, Field(pattern=r"^sha256[:-][0-9a-f]{64}$")]


class PresetMessage(Lenient):
    """A message that conversations with a model begin with: text alone."""

    role: Annotated[Literal["system", "user", "assistant"], BeforeValidator(lower)]
    content: str | None = None


class ModelParameters(Options):
    """``parameters`` of a model to make, with which it is loaded: a value with which it never could be is refused.

    Ollama's values for "whatever suits the machine" are -1 for ``num_gpu`` and 0 for ``num_thread``.
    """

    num_ctx: Annotated[float, Field(ge=1, le=LARGEST_CONTEXT)] | None = None
    num_gpu: Annotated[float, Field(ge=-1, le=LARGEST_COUNT)] | None = None
    num_thread: Annotated[float, Field(ge=0, le=LARGEST_COUNT)] | None = None


class _OneModel(Lenient):
    """A model, which older clients send as ``name``."""

    model: str | None = None
    name: str | None = None

    @property
    def named(self) -> str:
        """The name, empty if there is none."""
        return self.model or self.name or ""


class ShowRequest(_OneModel):
    """``POST /api/show``."""

    verbose: bool | None = None


class DeleteRequest(_OneModel):
    """``DELETE /api/delete``."""


class PullRequest(_OneModel):
    """``POST /api/pull``, and what is refused at ``/api/push``."""

    stream: bool | None = None


class CopyRequest(Lenient):
    """``POST /api/copy``."""

    source: str
    destination: str


class CreateRequest(_OneModel):
    """``POST /api/create``."""

    stream: bool | None = None
    source: str | None = Field(default=None, alias="from")
    files: dict[str, Digest] | None = None
    adapters: dict[str, Digest] | None = None
    template: str | None = None
    system: str | None = None
    parameters: ModelParameters | None = None
    license: str | list[str] | None = None
    messages: list[PresetMessage] | None = None
    quantize: str | None = None
    modelfile: str | None = None
    path: str | None = None
