"""An answer may take several turns of a model, and each of them may have to wait."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.support.eventually import eventually
from tests.support.registries import chat, scripted, state_of, status_of, write_registry
from tests.support.serving import ServedHost

OBJECT: dict[str, Any] = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}


def test_an_answer_that_is_asked_for_again_tells_of_its_first_wait_alone(tmp_path: Path) -> None:
    path = write_registry(tmp_path / "models.yaml", scripted("ant"), scripted("bee"))
    with (
        ServedHost(models_config=path, max_models=1, burst_requests=1, burst_seconds=0.1) as host,
        ThreadPoolExecutor(2) as clients,
    ):
        retried = clients.submit(chat, host, "ant", "/slow 10 /echo one two three four five", response_format=OBJECT)
        eventually(lambda: state_of(host, "ant") == "busy")
        other = clients.submit(chat, host, "bee")
        eventually(lambda: status_of(host, "bee")["queue_length"] == 1)
        assert other.result().status_code == 200
        assert retried.result().headers.get_list("x-queue-position") == ["1"]
        assert host.metric("modelhost_model_loads_total", model="ant") == 2  # it did wait again
