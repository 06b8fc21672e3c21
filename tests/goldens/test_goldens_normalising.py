"""What is replaced in the goldens, and what is not."""

from __future__ import annotations

import platform
from typing import Any

import pytest

from modelhost.version import __version__
from tests.goldens.http_recording import event_lines
from tests.goldens.json_text import json_text
from tests.goldens.normalising import Normaliser


@pytest.fixture
def normaliser() -> Normaliser:
    return Normaliser({"/tmp/x": "<folder>", "/tmp/x/python": "<python>"})  # noqa: S108 (a name, and no file)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("chatcmpl-0a1b2c3d4e5f and chatcmpl-0a1b2c3d4e5f", "<chatcmpl-1> and <chatcmpl-1>"),
        ("req-c8260d433021-4, then req-c8260d433021-5", "<request-1>, then <request-2>"),
        ("state-3f9c1a77b2e0", "<state-1>"),
        ("0123456789abcdef0123456789abcdef", "<id-1>"),
        ("123e4567-e89b-12d3-a456-426614174000", "<uuid-1>"),
        ("a" * 64, "<hash-1>"),
        ("2026-11-28T19:02:03.496162Z", "<time>"),
        ("2026-11-28 19:02:03 anna", "<time> anna"),
        ("19:02:03 loading", "<time> loading"),
        ("http://127.0.0.1:43083/mcp", "http://127.0.0.1:<port>/mcp"),
        ("in /tmp/x/work, by /tmp/x/python", "in <folder>/work, by <python>"),
        ("1,234.5 MB of 2 GiB", "<size> of <size>"),
        ("after 0.35 s, and 12 ms", "after <seconds> s, and <seconds>"),
        ("[Errno 111] Connection refused", "[Errno <number>] Connection refused"),
        (f"modelhost {__version__}", "modelhost <version>"),
        ("process 12 on somewhere for long", "process <pid> on <machine> for long"),
        ("anna, state-none, 3 tokens, 2025-11-25", "anna, state-none, 3 tokens, 2025-11-25"),
    ],
)
def test_texts_lose_what_differs_from_run_to_run(normaliser: Normaliser, text: str, normal: str) -> None:
    assert normaliser.text(text) == normal


@pytest.mark.parametrize(
    ("value", "normal"),
    [
        ({"created": 1795892524, "loaded_at": None}, {"created": "<time>", "loaded_at": None}),
        ({"pid": 12, "port": 80, "threads": 2}, {"pid": "<pid>", "port": "<port>", "threads": "<threads>"}),
        ({"need_bytes": {"ram": 1, "gpu:0": 2}, "need_mb": 3}, {"need_bytes": "<sizes>", "need_mb": "<size>"}),
        ({"memory_bytes": {}, "memory_mb": None}, {"memory_bytes": "<sizes>", "memory_mb": "<size>"}),
        ({"embedding": [0.1, 0.2]}, {"embedding": ["<2 numbers>"]}),
        ({"timings": {"prompt_ms": 1.5}}, {"timings": {"prompt_ms": "<measured>"}}),
        ({"worker": "one/1451"}, {"worker": "one/<pid>"}),
        (
            {"version": "1.2", "protocolVersion": "2025-11-25"},
            {"version": "<version>", "protocolVersion": "2025-11-25"},
        ),
        ({"text": '{"seconds": 0.5, "is_error": false}'}, {"text": '{"seconds": "<seconds>", "is_error": false}'}),
        ({"request_timeout": 30.0, "limit": 5, "ok": True}, {"request_timeout": 30.0, "limit": 5, "ok": True}),
    ],
)
def test_values_are_known_by_their_keys(normaliser: Normaliser, value: Any, normal: Any) -> None:
    assert normaliser.value(value) == normal


def test_ids_are_numbered_anew_in_each_scenario(normaliser: Normaliser) -> None:
    assert normaliser.text("chatcmpl-aaaaaaaa chatcmpl-bbbbbbbb") == "<chatcmpl-1> <chatcmpl-2>"
    normaliser.begin_scenario()
    assert normaliser.text("chatcmpl-bbbbbbbb") == "<chatcmpl-1>"


def test_what_a_request_kept_is_shown_by_its_name(normaliser: Normaliser) -> None:
    normaliser.know("TUc3bNiemwUcrGie", "question")
    assert normaliser.value({"id": "TUc3bNiemwUcrGie"}) == {"id": "<question>"}


def test_generated_text_is_hidden_with_its_counts_where_it_may_depend_on_the_processor() -> None:
    answer = {"message": {"content": "Hello!", "role": "assistant"}, "usage": {"completion_tokens": 4}}
    assert Normaliser({}).value(answer) == answer
    hidden = Normaliser({}, hides_generated=True).value(answer)
    assert hidden == {"message": {"content": "<text>", "role": "assistant"}, "usage": {"completion_tokens": "<count>"}}


def test_columns_of_a_table_do_not_depend_on_what_stands_in_them(normaliser: Normaliser) -> None:
    assert (
        normaliser.table("one     150 MB   ready\ntwo  12,150 MB   ready  ") == "one  <size>  ready\ntwo  <size>  ready"
    )


def test_events_of_a_stream_lose_comments_and_repetitions(normaliser: Normaliser) -> None:
    stream = ': wait\n\ndata: {"a": 1}\n\ndata: {"a": 1}\n\ndata: {"a": 1}\n\ndata: [DONE]\n\n'
    assert event_lines(stream, normaliser) == ['data: {"a": 1}', "(more of these)", "data: [DONE]"]


def test_json_that_fits_stands_on_a_line_and_the_rest_is_broken_up() -> None:
    assert json_text({"b": [1, 2], "a": {}}) == '{"b": [1, 2], "a": {}}'
    assert json_text({"a": ["x" * 60, "y" * 60]}) == f'{{\n  "a": [\n    "{"x" * 60}",\n    "{"y" * 60}"\n  ]\n}}'
    assert json_text({"b": 1, "a": 2}, sort_keys=True) == '{"a": 2, "b": 1}'


def report(**more: Any) -> dict[str, Any]:
    groups = {"latency": {"p50_ms": 1.5, "count": 2}, "queue": None, "errors": {"queue_full": 3}}
    return {"timestamp": "2026-11-28T19:02:03Z", "duration_seconds": 60, "metrics": groups, "models": {}, **more}


def test_reports_of_metrics_keep_their_groups_and_lose_their_numbers(normaliser: Normaliser) -> None:
    normal = normaliser.value(report(duration_seconds=3600, models={"a": {"cache": {"hit_rate": None}}}))
    assert normal == {
        "timestamp": "<time>",
        "duration_seconds": 3600,
        "metrics": {
            "latency": {"p50_ms": "<measured>", "count": "<measured>"},
            "queue": None,
            "errors": {"queue_full": "<measured>"},
        },
        "models": {"a": {"cache": {"hit_rate": "<measured>"}}},
    }


def test_what_happened_in_a_short_time_is_a_matter_of_speed(normaliser: Normaliser) -> None:
    normal = normaliser.value(report(models={"a": {"requests": {"total": 1}}}, history=[report(), report()]))
    assert normal["models"] == "<of each model>"
    assert normal["metrics"]["errors"] == "<of each code>"
    assert len(normal["history"]) == 2
    assert normal["history"][0]["metrics"] == normal["metrics"]


def test_the_name_of_the_machine_is_hidden_where_it_is_told_as_the_host(normaliser: Normaliser) -> None:
    assert normaliser.value({"host": platform.node()}) == {"host": "<machine>"}
    assert normaliser.value({"host": f"{platform.node()}-0a1b2c3d"}) == {"host": "<machine and data directory>"}
    assert normaliser.value({"host": "127.0.0.1", "name": "of it"}) == {"host": "127.0.0.1", "name": "of it"}
