"""The traits of an engine that are known without importing it: formats, installation, GPUs, capabilities."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from modelhost.engines.capabilities import Capabilities
from modelhost.engines.environments import Recipe
from modelhost.exchange.tasks import Task

ModelFormat = Literal["gguf", "safetensors"]
DirectoryFormat = Literal["safetensors", "pipeline", "ctranslate2", "onnx"]
"""The formats of models that are directories."""
Source = Literal["files", "server", "script"]
Machine = Literal["apple_silicon", "cuda", "other"]
"""Kinds of machines, as far as they matter to the choice of an engine; ``cuda`` has a GPU of NVIDIA's."""

Build = Literal["native", "cuda", "hip", "vulkan", "metal"]
"""What an engine is built for: the processor of this machine, or a framework that computes on its GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFacts:
    """The state of an engine on this machine."""

    name: str
    is_installed: bool
    version: str | None = None
    location: str | None = None
    """The folder of its library."""
    reads: str = ""
    can: tuple[str, ...] = ()
    why_not: str | None = None
    build: str | None = None
    """For an engine that can be built for the machine: ``wheel``, or the kind of build."""
    has_llguidance: bool | None = None
    features: tuple[str, ...] = ()
    """The features of the build, as found when it was checked."""
    factors: Mapping[str, float] | None = None
    """The speed of the build when it was checked, as a multiple of the wheel's."""
    remark: str | None = None
    """Advice for improvement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BetterBuild:
    """A build of an engine that would be faster on this machine than the current one."""

    engine: str
    """For people."""
    build: Build
    reason: str
    """What the machine has that is not used: "this processor has AVX-512"."""
    gain: str
    """How much faster, as far as that was measured."""
    command: str
    """Makes the build."""

    def __str__(self) -> str:
        return f"{self.engine} could be faster here: {self.reason} ({self.gain}): {self.command}"


class Builds(Protocol):
    """An engine of the host's Python that can be built for the machine, into an environment of its own."""

    def why_unused(self, data_dir: Path) -> str | None:
        """Return why the build below ``data_dir`` is not used; ``None`` if it is, or if there is none."""
        ...

    def described(self, facts: EngineFacts, data_dir: Path) -> EngineFacts:
        """Return ``facts`` with the record of the build below ``data_dir``, which is used."""
        ...

    def replaced(self, facts: EngineFacts) -> EngineFacts | None:
        """Return the facts of the program that the environment names in its place; ``None`` if it names none."""
        ...

    def packaged(self, facts: EngineFacts) -> EngineFacts | None:
        """Return the facts of an installed package that is used where there is no build; ``None`` if there is none."""
        ...

    def better(self, gpu: str | None, features: Collection[str], *, is_built: bool) -> BetterBuild | None:
        """Return the build that suits this machine better than one with ``features``; ``None`` if there is none.

        ``gpu`` is the framework that computes on the machine's GPU, if it has one. ``is_built``: the current one was
        built on this machine.
        """
        ...

    def advised(self, facts: EngineFacts, gpu: str | None) -> EngineFacts:
        """Return ``facts`` with advice on a better build, if there is one; ``gpu`` as above."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """How an engine is installed."""

    modules: tuple[str, ...] = ()
    """What its worker imports beyond what modelhost itself needs."""
    distribution: str = ""
    """The one whose version is the engine's, in the host's Python."""
    has_extra: bool = False
    """Whether modelhost has an extra of its name."""
    environment: Recipe | None = None
    """What goes into an environment of its own, if it cannot share the host's."""
    cuda_environment: Recipe | None = None
    """The same on a machine with a GPU of NVIDIA's, where that differs."""
    builds: Builds | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSupport:
    """How an engine uses GPUs."""

    builds: frozenset[str] = frozenset({"cuda"})
    """The kinds of GPUs for which there is a build of it."""
    install_command: str
    """Installs a build for a GPU of the kind ``{build}``."""
    has_layers_placed: bool = False
    """Whether the host decides which layers go to which GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberFormats:
    """The number formats in which an engine computes models in safetensors, where its option ``dtype`` is ``auto``."""

    is_unknown: bool = False
    """The engine chooses by its own rule."""
    converts_unsuitable: bool = False
    """It computes in 16 bits what is stored in 32, and in another format what float16 cannot hold."""
    uses_16_bits_on_apple_silicon: bool = False
    keeps_packed: bool = False
    """Weights stay as they are stored if they are quantized, and on Apple silicon."""
    quantized_bits: Callable[[Mapping[str, Any]], int | None] = lambda _options: None
    """Returns the bits of a weight that these engine options have quantized while it is loaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTraits:
    """One engine. What depends on a model and its options, the :class:`~modelhost.engines.base.Engine` decides."""

    name: str
    serves: Source = "files"
    """Where its models are: in files here, behind the URL of a server, or nowhere, for it plays a script."""
    formats: frozenset[ModelFormat] = frozenset()
    recognises: Callable[[frozenset[str]], bool] = lambda _names: False
    """Whether a directory with files of these names is a model in a layout that only this engine reads."""
    layout: DirectoryFormat = "safetensors"
    """The format of such directories."""
    lacks: Callable[[frozenset[str]], str | None] = lambda _names: None
    """Returns the file without which a directory with files of these names is no such model, though it has the rest."""
    kinds: Mapping[str, Task] = field(default_factory=dict)
    """The task of models in safetensors that write no text, by their ``model_type`` or ``sentence_transformers``; no
    other engine serves these."""
    packaged: tuple[str, ...] = ()
    """Names of models that come in packages of its environment, without files to name."""
    best_on: frozenset[Machine] = frozenset()
    """Where it is the first choice for its formats."""
    fallback_rank: int = 0
    """Its place among the engines for a format where the first choice is not installed."""
    capabilities: Capabilities | None = None
    """``None``: it plays scripts, for tests, or writes no text."""
    reads: str
    """The formats, for a person."""
    can: tuple[str, ...]
    installation: Installation = Installation()
    gpu: GpuSupport | None = None
    """``None`` if it uses no GPUs that the host manages."""
    process_bytes: int = 0
    """Main memory of a worker without a model: Python with the libraries."""
    start_seconds: float = 60.0
    """How long a start may take, in addition to the time to read the model."""
    numbers: NumberFormats = field(default_factory=NumberFormats)
    adapters: Literal["gguf", "peft"] | None = None
    """The format in which it reads LoRA adapters, where the host checks that."""
    own_params: tuple[str, ...] = ()
    """Launch parameters of a registry entry that no other engine has."""
    has_every_core: bool = False
    """Whether it computes by a thread on every core that is good for it: its threads sleep while they wait."""
    has_vision_file: bool = False
    """Whether a model's encoder of images and sound is a separate file, which the host looks for."""
    vision_types: frozenset[str] | None = None
    """The kinds of models in safetensors whose images it takes, by ``model_type``; ``None`` if it does not say."""
    why_not_loaded: Callable[[str], str | None] = lambda _model_type: None
    """Returns why it cannot serve models in safetensors that write text, by their ``model_type``; ``None``: nothing is
    known against it. It speaks of the engine in this Python, not of one in an environment of its own."""
    unknown_statements: frozenset[str] = frozenset()
    """Statements of Jinja that its chat templates cannot have, beyond those that load other templates."""


TEXT: tuple[str, ...] = ("chat", "completions", "tool calls", "JSON schema")
"""What engines can do that write text, for a person."""
