"""What differs from run to run, or from machine to machine, replaced by names: ids, times, ports, paths, memory.

Ids are numbered within one scenario, so that it stays visible which are the same. What is *configured* stays as it is.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping
from typing import Any, Final

from modelhost.version import __version__

TIME: Final = "<time>"
SECONDS: Final = "<seconds>"
SIZE: Final = "<size>"
VERSION: Final = "<version>"
MEASURED: Final = "<measured>"

BY_KEY: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        (
            "created",
            "at",
            "ready_since",
            "loaded_at",
            "last_used_at",
            "switch_requested_at",
            "created_at",
            "completed_at",
            "updated_at",
            "saved_at",
            "expires_at",
        ),
        TIME,
    ),
    **dict.fromkeys(
        (
            *("seconds", "duration_ms", "estimated_load_time", "uptime_seconds", "oldest_wait_seconds"),
            *("latency_p50_seconds", "latency_p95_seconds", "retry_in_seconds", "load_seconds", "waited_seconds"),
            *("latency_last_seconds", "connect_seconds", "latency_seconds"),
        ),
        SECONDS,
    ),
    **dict.fromkeys(
        (
            *("need_mb", "memory_mb", "budget_mb", "used_mb", "memory_usage_mb", "memory_required_mb", "missing_mb"),
            *("memory_freed_mb", "memory_gb", "size_bytes", "space_freed_bytes", "required_mb", "available_mb"),
            *(
                "need_bytes",
                "budget_bytes",
                "used_bytes",
                "estimated_memory_mb",
                "size_gb",
                "disk_bytes",
                "cache_bytes",
            ),
        ),
        SIZE,
    ),
    **dict.fromkeys(("total_duration", "load_duration", "prompt_eval_duration", "eval_duration"), "<nanoseconds>"),
    **dict.fromkeys(
        ("latency_ms", "throughput_tokens_per_second", "tokens_per_second", "gpu_utilization"), "<measured>"
    ),
    **dict.fromkeys(("size", "size_vram"), "<bytes>"),  # of Ollama's API
    "restarts": "<count>",  # a restart that was asked for is counted when it is over
    "pid": "<pid>",
    "port": "<port>",
    "threads": "<threads>",
    "system_fingerprint": "<fingerprint>",
    **dict.fromkeys(("version", "engine_version", "modelhost_version", "xllamacpp_version"), VERSION),
}
"""Numbers and texts that stand for something measured, by the key under which they are told."""
LATER: Final = frozenset({SECONDS, SIZE, "<measured>"})
"""What is ``null`` until it is measured, which is a matter of time; any other ``null`` stays."""
BY_POOL: Final = frozenset(
    {"need_bytes", "memory_bytes", "need_mb", "missing_mb", "memory_required_bytes", "memory_freed_bytes"}
)
"""Objects with a number for each pool of memory; which pools there are depends on the machine, and on when it is."""
IN_REPORTS_OF_METRICS: Final = frozenset({"timestamp", "duration_seconds", "metrics"})
IN_REPORTS_OF_MEMORY: Final = frozenset({"gpu_memory", "system_memory", "model_memory"})
"""The keys by which reports of the performance monitor are known."""
SHORT_SECONDS: Final = 3600
"""What happened in a shorter window is a matter of time: of which model, and which errors."""
ALL_BELOW: Final = frozenset({"timings", "holders", "need_bytes_by_context"})
"""Objects in which every number is measured."""
TEXT_KEYS: Final = frozenset({"content", "text", "reasoning_content", "response", "delta_text"})
COUNT_KEYS: Final = frozenset({"completion_tokens", "total_tokens", "prompt_tokens", "cached_tokens"})
MOST_CHARACTERS: Final = 2000
"""Of a text; what is longer is not what a client is to read here."""
_SIZE_TEXT: Final = r"\d[\d,.]* ?(?:[kKMG]i?B)\b"
_IDS: Final = re.compile(
    r"(?P<chatcmpl>chatcmpl-[0-9a-zA-Z]{8,})"
    r"|(?P<cmpl>\bcmpl-[0-9a-zA-Z]{8,})"
    r"|(?P<msg>\bmsg_[0-9a-zA-Z]{8,})"
    r"|(?P<item>\b(?:resp|conv|fc|fco|ctc|rs|mcp|mcpl|mcpr|mcpa|cmp|audio)_[0-9a-f]{16,}(?:_[0-9a-zA-Z_-]+)?)"
    r"|(?P<toolu>\btoolu_[0-9a-f]{24}\b)"
    r"|(?P<call>\bcall_[0-9a-zA-Z]{6,})"
    r"|(?P<request>\breq-[0-9a-f]{6,}(?:-\d+)?)"
    r"|(?P<state>\bstate-[0-9a-f]{8,})"
    r"|(?P<question>\b(?:approval|elicitation|question|appr|elic)[-_][0-9a-f]{6,})"
    r"|(?P<uuid>\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b)"
    r"|(?P<hash>\b[0-9a-f]{40,64}\b)"
    r"|(?P<id>\b[0-9a-f]{32}\b)"
)
_TEXTS: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (re.compile(r"\bmh1\.[\w-]{43}="), "<signature>"),
    (re.compile(r"\bmhs1\.[\w-]{38,}={0,2}"), "<sealed>"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?"), TIME),
    (re.compile(r"(?<![\d:])\d\d:\d\d:\d\d(?![\d:])"), TIME),
    (re.compile(r"\b(127\.0\.0\.1|localhost):\d{2,5}\b"), r"\1:<port>"),
    (re.compile(_SIZE_TEXT), SIZE),
    (re.compile(r"\b\d[\d,.]* ?ms\b"), SECONDS),
    (re.compile(r"\b\d[\d,.]* (?:s|seconds?)\b"), f"{SECONDS} s"),
    (re.compile(rf"\bmodelhost {re.escape(__version__)}"), f"modelhost {VERSION}"),
    (re.compile(r"\bpid \d+"), "pid <pid>"),
    (re.compile(r"\bprocess \d+ on \S+"), "process <pid> on <machine>"),
    (re.compile(r"\[Errno \d+\]"), "[Errno <number>]"),
)


class Normaliser:
    """Normalises the texts of one scenario after the other."""

    def __init__(self, places: Mapping[str, str], *, hides_generated: bool = False) -> None:
        """Take the names of ``places`` (paths, say), and whether generated text and its token counts are hidden."""
        self._places = sorted(places.items(), key=lambda place: -len(place[0]))
        self._hides_generated = hides_generated
        self._ids: dict[str, str] = {}
        self._known: dict[str, str] = {}
        self._counts: dict[str, int] = {}

    def begin_scenario(self) -> None:
        """Number ids from 1 again."""
        self._ids.clear()
        self._known.clear()
        self._counts.clear()

    def know(self, value: str, name: str) -> None:
        """Let ``value`` be shown as ``name`` in this scenario, whatever its form is."""
        self._known.setdefault(value, f"<{name}>")

    def text(self, text: str) -> str:
        """``text`` with everything replaced that is told from its form alone."""
        for place, name in (*self._places, *self._known.items()):
            text = text.replace(place, name)
        for pattern, name in _TEXTS:
            text = pattern.sub(name, text)
        return _IDS.sub(self._named_id, text)

    def value(self, value: Any, key: str = "") -> Any:
        """A JSON value with everything replaced that is told from its form, or from the key above it."""
        if isinstance(value, dict):
            return self._object(value, key)
        if isinstance(value, list):
            return [f"<{len(value)} numbers>"] if key == "embedding" else [self.value(each, key) for each in value]
        if isinstance(value, str):
            return self._text_value(value, key)
        if value is None:
            return "<sizes>" if key in BY_POOL - BY_KEY.keys() else BY_KEY[key] if BY_KEY.get(key) in LATER else None
        if isinstance(value, bool):
            return value
        return "<count>" if self._hides_generated and key in COUNT_KEYS else BY_KEY.get(key, value)

    def _object(self, value: dict[str, Any], key: str) -> Any:
        if key in BY_POOL:
            return "<sizes>"
        if value.keys() >= IN_REPORTS_OF_METRICS and isinstance(value["duration_seconds"], int):  # and no schema
            return self._report(value)
        if value.keys() >= IN_REPORTS_OF_MEMORY and isinstance(value["model_memory"], list):
            groups = {name: _measured(value[name]) for name in ("gpu_memory", "system_memory")}
            return {**value, **groups, "model_memory": "<of each loaded model>"}
        if key in ALL_BELOW:
            return {self.text(name): "<measured>" for name in value}
        return {self.text(name): self.value(each, name) for name, each in value.items()}

    def _report(self, report: Mapping[str, Any]) -> dict[str, Any]:
        """A report of metrics: which groups there are, and what is in each."""
        is_short = report["duration_seconds"] < SHORT_SECONDS
        found = {**report, "timestamp": TIME, "metrics": _groups(report["metrics"], is_short=is_short)}
        if "models" in report:
            models = {name: _groups(groups, is_short=is_short) for name, groups in report["models"].items()}
            found["models"] = "<of each model>" if is_short else models
        if report.get("history"):
            found["history"] = [self._report(report["history"][0]), "(and maybe more of these)"]
        return found

    def table(self, text: str) -> str:
        """A table for people, whose columns are as wide as what stands in them."""
        lines = [re.sub(r" {2,}", "  ", line).rstrip() for line in self.text(text).split("\n")]
        return "\n".join(lines)

    def _text_value(self, value: str, key: str) -> str:
        if self._hides_generated and key in TEXT_KEYS and value:
            return "<text>"
        if key == "host" and value == platform.node():
            return "<machine>"
        if key == "host" and re.fullmatch(re.escape(platform.node()[:64]) + r"-[0-9a-f]{8}", value):
            return "<machine and data directory>"
        if key == "worker":
            return re.sub(r"/\d+$", "/<pid>", value)
        if key in BY_KEY and BY_KEY[key] in {VERSION, "<fingerprint>", TIME}:
            return BY_KEY[key]
        inner = _json_in(value)
        text = self.text(value) if inner is None else json.dumps(self.value(inner), ensure_ascii=False)
        return text if len(text) <= MOST_CHARACTERS else f"{text[:60]} ... (a long text)"

    def _named_id(self, found: re.Match[str]) -> str:
        kind, original = str(found.lastgroup), found[0]
        if original not in self._ids:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            self._ids[original] = f"<{kind}-{self._counts[kind]}>"
        return self._ids[original]


def _groups(metrics: Mapping[str, Any], *, is_short: bool) -> dict[str, Any]:
    """Groups of metrics without their numbers; one that was not requested is ``None``."""
    found = {name: group if group is None else _measured(group) for name, group in metrics.items()}
    return {**found, "errors": "<of each code>"} if is_short and found.get("errors") is not None else found


def _measured(group: Mapping[str, Any]) -> dict[str, Any]:
    return dict.fromkeys(group, MEASURED)


def _json_in(text: str) -> Any:
    """The object or list that ``text`` is, if it is one: tools answer with JSON in texts."""
    if not text.startswith(("{", "[")):
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None
