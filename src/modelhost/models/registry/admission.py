"""What clients may add to the models of a host while it runs.

Decided by the text of the name alone: what may not be added is not looked for either, so that a refusal reveals
nothing about the files of this machine.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from modelhost.config.paths import expand_home
from modelhost.config.settings import Settings
from modelhost.config.value_types import AllowedModels
from modelhost.errors import ConfigError, ModelNotAllowed, ModelNotFound
from modelhost.models.hub.references import DEFAULT_REVISION, HubReference, is_path, is_url, parse_reference
from modelhost.models.registry.entry import EntryContext, ModelEntry, build_entry
from modelhost.models.registry.schema import EntryFile, RegistryFile

Kind = Literal["hub", "file", "server", "name"]

WHAT: Final = {"hub": "a model of the hub", "file": "a path"}
SERVERS: Final = (
    "A server elsewhere is named in the models.yaml of the host, which has its key too: clients add no URLs."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """What may be added, and whether that is set or follows from who can reach the host."""

    policy: AllowedModels
    is_default: bool

    @classmethod
    def of(cls, settings: Settings) -> Admission:
        """Return what ``settings`` allow."""
        if settings.allow_models is not None:
            return cls(policy=settings.allow_models, is_default=False)
        is_guarded = bool(settings.api_keys) or is_this_machine(settings.host)
        return cls(policy="hub" if is_guarded else "registry", is_default=True)

    def entry(self, text: str, settings: Settings, known: Iterable[str]) -> ModelEntry:
        """Return the entry of the model that ``text`` names, as one of a registry would be beside ``settings``.

        It is called by its id on the hub, or by its whole path. ``known`` are the names that the host has. Looks at
        files only where these may be added; blocks then.

        Raises:
            ModelNotAllowed: it may not be added.
            ModelNotFound: it is no such name, but one of a model.
            ConfigError: a setting of the host is not for it.
        """
        kind = kind_of(text)
        if kind in ("hub", "name") and self.policy == "any" and _is_here(text):
            kind = "file"
        if kind == "name":
            raise not_found(text, known)
        if kind == "server":
            raise ModelNotAllowed(SERVERS, param="model", allow_models=self.policy)
        if kind == "hub":
            self.check_hub(text, known)
            reference = reference_of(text)
            assert reference is not None
            return self.of_hub(reference, settings)
        if self.policy != "any":
            raise self._refusal(text, kind, known)
        return self.of_path(text, settings)

    def check_hub(self, text: str, known: Iterable[str]) -> None:
        """Check that models of the hub may be added, such as ``text``; raises ModelNotAllowed."""
        if self.policy == "registry":
            raise self._refusal(text, "hub", known)

    @staticmethod
    def of_hub(reference: HubReference, settings: Settings) -> ModelEntry:
        """Return the entry of a model of the hub; raises ConfigError as :meth:`entry` does."""
        keys = {"name": reference.id, "hf_id": str(reference), "revision": reference.revision}
        return _built(EntryFile.model_validate(keys), settings)

    @staticmethod
    def of_path(text: str, settings: Settings, *, engine: str | None = None) -> ModelEntry:
        """Return the entry of a file or directory of this machine; raises ConfigError as :meth:`entry` does.

        ``engine`` is the one to run it, by default that of ``settings``, or the one for its format.
        """
        path = os.path.normpath(Path.cwd() / expand_home(text))
        return _built(EntryFile(name=path, local_path=path, engine=engine), settings)

    def check_changes(self, name: str) -> None:
        """Check that clients may make models of others, such as ``name``; raises ModelNotAllowed."""
        if self.policy == "registry":
            raise ModelNotAllowed(
                f"{name} cannot be made, copied or deleted: this host may have no other models than its own "
                f"({self._why}). Start the host with --allow-models hub.",
                param="model",
                model=name,
                allow_models=self.policy,
                needed="hub",
            )

    @property
    def _why(self) -> str:
        why = f"allow_models is {self.policy}"
        if not self.is_default:
            return why
        return f"{why}, the default of a host that " + (
            "only this machine reaches, or that requires keys"
            if self.policy == "hub"
            else "others can reach without a key"
        )

    def _refusal(self, text: str, kind: Literal["hub", "file"], known: Iterable[str]) -> ModelNotAllowed:
        needed = "hub" if kind == "hub" else "any"
        return ModelNotAllowed(
            f'"{text}" is {WHAT[kind]}, and not a model of this host, which may not add it ({self._why}). '
            f"Start the host with --allow-models {needed}, or add the model to its models.yaml. Available: "
            f"{_listed(known)}.",
            param="model",
            model=text,
            allow_models=self.policy,
            needed=needed,
        )


def kind_of(text: str) -> Kind:
    """Return what ``text`` is by its form; ``name``: neither an id of the hub nor a path nor a URL."""
    if is_url(text):
        return "server"
    if is_path(text):
        return "file"
    return "hub" if parse_reference(text) is not None else "name"


def reference_of(text: str | None, revision: str | None = None) -> HubReference | None:
    """Return the model of the hub that ``text`` names, in a form that can be compared; ``None``: it names none."""
    reference = None if text is None or is_path(text) else parse_reference(text, revision)
    if reference is None or reference.revision != DEFAULT_REVISION:
        return reference
    return replace(reference, revision=None)


def is_this_machine(address: str) -> bool:
    """Whether only this machine reaches what listens on ``address``, a name or an IP address."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address.lower() == "localhost" or address.lower().endswith(".localhost")


def _is_here(text: str) -> bool:
    with suppress(OSError):  # such as a name that is too long for one
        return expand_home(text).exists()
    return False


def _built(keys: EntryFile, settings: Settings) -> ModelEntry:
    """Return the entry as a registry's. Variables are not expanded: a client could read the host's in the answers."""
    frame = EntryContext(file=RegistryFile(), base=settings, directory=Path.cwd(), variables={})
    entry, problems, _ = build_entry(keys, frame)
    if entry is None or problems:
        raise ConfigError(f"{keys.name} cannot be added: {'; '.join(problems)}", param="model")
    return entry


def not_found(text: str | None, known: Iterable[str]) -> ModelNotFound:
    """Return the error that the host has no model called ``text``; ``known`` are the names that there are."""
    return ModelNotFound(f'There is no model "{text}" here. Available: {_listed(known)}.', param="model", model=text)


def adapter_not_found(text: str, model: str, adapters: Iterable[str]) -> ModelNotFound:
    """Return the error that ``text`` names a model of the host with an adapter that it does not have."""
    return ModelNotFound(
        f'There is no model "{text}" here: the adapters of {model} are {_listed(adapters)}.', param="model", model=text
    )


def _listed(known: Iterable[str]) -> str:
    return ", ".join(sorted(known)) or "none at all"
