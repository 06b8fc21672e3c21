"""Whether traces are exported: the setting and OpenTelemetry's variables."""

from __future__ import annotations

from typing import Any

import pytest
import structlog

from modelhost.config.settings import Settings
from modelhost.errors import ConfigError
from modelhost.tracing import wanted
from modelhost.tracing.wanted import wanted_traces

HERE = "http://127.0.0.1:4318"
VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"


def settings(**values: Any) -> Settings:
    return Settings.model_validate(values)


@pytest.mark.parametrize("given", [HERE, f"{HERE}/", f"{HERE}/v1/traces"])
def test_setting_names_a_collector_or_its_path_for_traces(given: str) -> None:
    found = wanted_traces(settings(otlp_endpoint=given), {VARIABLE: "http://elsewhere"})
    assert found is not None
    assert (found.endpoint is not None and found.endpoint.rstrip("/")) == f"{HERE}/v1/traces"
    assert not found.records_content


@pytest.mark.parametrize(
    ("environ", "source"),
    [
        ({}, None),
        ({"OTEL_SERVICE_NAME": "me"}, None),
        ({VARIABLE: " "}, None),
        ({VARIABLE: HERE}, VARIABLE),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": HERE, VARIABLE: HERE}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "OTEL_TRACES_EXPORTER"),
        ({"OTEL_TRACES_EXPORTER": "none", VARIABLE: HERE}, None),
        ({"OTEL_SDK_DISABLED": "true", VARIABLE: HERE}, None),
    ],
)
def test_variables_say_whether(environ: dict[str, str], source: str | None) -> None:
    found = wanted_traces(settings(), environ)
    assert (found and found.source) == source
    assert found is None or found.endpoint is None  # the exporter reads the variables


def test_disabling_variable_overrides_the_setting() -> None:
    assert wanted_traces(settings(otlp_endpoint=HERE), {"OTEL_SDK_DISABLED": "True"}) is None


@pytest.mark.parametrize(
    ("environ", "is_wanted"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, False),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, True),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}, True),
    ],
)
def test_other_protocol_of_the_variables_is_a_warning(environ: dict[str, str], is_wanted: bool) -> None:
    with structlog.testing.capture_logs() as lines:
        found = wanted_traces(settings(), {VARIABLE: HERE, **environ})
    assert (found is not None) is is_wanted
    reason = "OTEL_EXPORTER_OTLP_PROTOCOL is grpc, and the host exports with http/protobuf only"
    assert [line["reason"] for line in lines] == ([] if is_wanted else [reason])


def test_missing_extra_is_an_error_of_the_setting_and_a_warning_for_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wanted, "find_spec", lambda _name: None)
    with pytest.raises(ConfigError) as caught:
        wanted_traces(settings(otlp_endpoint=HERE), {})
    assert caught.value.message == 'otlp_endpoint: the export of traces takes an extra: pip install "modelhost[otel]"'
    with structlog.testing.capture_logs() as lines:
        assert wanted_traces(settings(), {VARIABLE: HERE}) is None
    (line,) = lines
    assert (line["event"], line["to"]) == ("traces_not_exported", VARIABLE)
    assert 'pip install "modelhost[otel]"' in line["reason"]


@pytest.mark.parametrize("given", ["127.0.0.1:4318", "grpc://here", "http://", "http://here?key=1"])
def test_setting_is_a_url(given: str) -> None:
    with pytest.raises(ValueError, match=r"expected a URL such as http://127\.0\.0\.1:4318"):
        settings(otlp_endpoint=given)
