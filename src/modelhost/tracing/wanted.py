"""Whether traces are exported, and where to: the setting, the standard variables of OpenTelemetry, or the program."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

from modelhost.config.settings import Settings
from modelhost.errors import ConfigError
from modelhost.logs import get_logger

log = get_logger(__name__)

TRACES_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
ENDPOINTS: Final = (TRACES_ENDPOINT, "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
EXPORTER: Final = "OTEL_TRACES_EXPORTER"
DISABLED: Final = "OTEL_SDK_DISABLED"
PROTOCOL: Final = "http/protobuf"
PATH: Final = "/v1/traces"
LIBRARIES: Final = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
OURS: Final = "modelhost."
"""What the module of a class of the host begins with."""
WAY_OUT: Final = 'pip install "modelhost[otel]"'


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedTraces:
    """Traces to be exported."""

    source: str | None
    """The endpoint of the setting, or the variable that says where; ``None``: only the program around the host does."""
    endpoint: str | None = None
    """The URL that spans are sent to; ``None``: what the variables say."""
    records_content: bool = False


def wanted_traces(settings: Settings, environ: Mapping[str, str]) -> WantedTraces | None:
    """Return what is to be exported; ``None``: nothing.

    The variables may be meant for other programs, so that one that cannot be followed is a warning.

    Raises:
        ConfigError: the setting cannot be followed, since the libraries are missing.
    """
    if environ.get(DISABLED, "").strip().lower() == "true":
        return None
    given = settings.otlp_endpoint
    if given is not None:
        if not _are_installed():
            raise ConfigError(f"otlp_endpoint: the export of traces takes an extra: {WAY_OUT}")
        endpoint = given if given.rstrip("/").endswith(PATH) else given.rstrip("/") + PATH
        return WantedTraces(source=given, endpoint=endpoint, records_content=settings.otlp_content)
    variable = _variable(environ)
    if variable is None:
        is_possible = _program_has_provider() and _are_installed()
        return WantedTraces(source=None, records_content=settings.otlp_content) if is_possible else None
    if (problem := _problem(environ)) is not None:
        log.warning("traces_not_exported", to=variable, reason=problem)
        return None
    return WantedTraces(source=variable, records_content=settings.otlp_content)


def _variable(environ: Mapping[str, str]) -> str | None:
    """Return the variable that asks for the export."""
    exporter = environ.get(EXPORTER, "").strip()
    if exporter not in ("", "otlp"):
        return None
    return next((name for name in (*ENDPOINTS, EXPORTER) if environ.get(name, "").strip()), None)


def _problem(environ: Mapping[str, str]) -> str | None:
    """Return why the variables cannot be followed."""
    named = next((name for name in PROTOCOLS if environ.get(name, "").strip()), None)
    if named is not None and environ[named].strip() != PROTOCOL:
        return f"{named} is {environ[named].strip()}, and the host exports with {PROTOCOL} only"
    return None if _are_installed() else f"the export takes an extra: {WAY_OUT}"


def _program_has_provider() -> bool:
    """Whether the program around the host has set a provider of spans; imports nothing."""
    api, sdk = sys.modules.get("opentelemetry.trace"), sys.modules.get("opentelemetry.sdk.trace")
    if api is None or sdk is None:
        return False
    provider = api.get_tracer_provider()
    return isinstance(provider, sdk.TracerProvider) and not type(provider).__module__.startswith(OURS)


def _are_installed() -> bool:
    try:
        return all(find_spec(name) is not None for name in LIBRARIES)
    except ModuleNotFoundError:  # a package around them is missing
        return False
