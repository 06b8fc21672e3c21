"""Errors as the contract of ``POST /`` has them, and the paths that take prompts."""

from __future__ import annotations

import orjson
import pytest
from starlette.routing import Route

from modelhost import errors
from modelhost.errors import ConfigError, ModelhostError
from modelhost.http.prompt.endpoint import check_paths, prompt_error_answer
from tests.unit.http.test_http_errors import example, leaves

CALLERS = {
    errors.InvalidRequest: 400,
    errors.InvalidJson: 400,
    errors.ContextLengthExceeded: 400,
    errors.Unauthorized: 401,
    errors.ForeignOrigin: 403,
    errors.NotFound: 404,
    errors.MethodNotAllowed: 405,
    errors.RequestTimedOut: 408,
    errors.RequestTooLarge: 413,
    errors.UnsupportedEncoding: 415,
    errors.HeadersTooLarge: 431,
    errors.TooManyConnections: 503,
}
OF_LLM_SERVER = {200, 400, 405, 413, 500}
AT_THE_EDGE = {401, 403, 404, 431, 503}


@pytest.mark.promise("llm-server.response.error")
@pytest.mark.parametrize("kind", leaves(), ids=lambda kind: kind.__name__)
def test_every_error_is_one_sentence_and_what_is_nobodys_fault_outside_is_500(
    kind: type[ModelhostError],
) -> None:
    status, headers, body = prompt_error_answer(example(kind))
    found = dict(headers)
    assert orjson.loads(body) == {"Error": "It failed."}
    assert (found[b"content-type"], found[b"content-length"]) == (b"application/json", str(len(body)).encode())
    assert status == CALLERS.get(kind, 500)


@pytest.mark.parametrize("kind", leaves(), ids=lambda kind: kind.__name__)
def test_strict_answers_have_the_statuses_of_llm_server_and_of_the_edge_alone(kind: type[ModelhostError]) -> None:
    status, _, body = prompt_error_answer(example(kind), is_strict=True)
    assert orjson.loads(body) == {"Error": "It failed."}
    assert status in OF_LLM_SERVER | AT_THE_EDGE
    faults_of_senders = (errors.UnsupportedEncoding, errors.RequestTimedOut)
    assert status == (400 if kind in faults_of_senders else CALLERS.get(kind, 500))


def test_an_answer_to_another_method_names_the_one_that_is_taken() -> None:
    assert dict(prompt_error_answer(errors.MethodNotAllowed("no"))[1])[b"allow"] == b"POST"


def test_a_path_that_belongs_to_another_endpoint_is_refused() -> None:
    async def endpoint(_: object) -> None: ...

    routes = [Route("/v1/models/{name:path}/load", endpoint, methods=["POST"]), Route("/docs", endpoint)]
    check_paths(["/", "/ask", "/docs"], routes)  # only one that takes POST requests is in the way
    with pytest.raises(ConfigError, match=r"^prompt_path: /v1/models/a/load is an endpoint of the host already"):
        check_paths(["/", "/v1/models/a/load"], routes)
