"""The bare library beside the host: a process that does jobs by the library alone, and the same job as a request."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import urlsplit

from bench.sides import StartError

THREADS: Final = 1
FIRST: Final = "first audio byte"
WHOLE: Final = "whole"
PART: Final = """
import json, sys
out = sys.stdout.buffer
def part(data):
    out.write(len(data).to_bytes(4, "little") + data)
    out.flush()
"""
"""How a program sends a part of an answer; an empty one ends it."""

Times = dict[str, float]
Ask = Callable[[], Times]


@contextmanager
def library(
    python: str, program: str, arguments: Sequence[str], log: Path
) -> Iterator[Callable[[Any], tuple[Times, list[bytes]]]]:
    """The library in a process; what is yielded has it do one job."""
    with log.open("ab") as errors:
        process = subprocess.Popen(
            [python, "-c", program, str(THREADS), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "OMP_NUM_THREADS": str(THREADS)},
        )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def ask(job: Any) -> tuple[Times, list[bytes]]:
        began = time.perf_counter()
        stdin.write(json.dumps(job).encode() + b"\n")
        stdin.flush()
        parts, first = [], None
        while part := _part(stdout, log):
            first = first or time.perf_counter()
            parts.append(part)
        ended = time.perf_counter()
        return {FIRST: (first or ended) - began, WHOLE: ended - began}, parts

    try:
        _part(stdout, log)  # it is ready
        yield ask
    finally:
        process.kill()
        process.wait()
        stdin.close()
        stdout.close()


def _part(stdout: IO[bytes], log: Path) -> bytes:
    head = stdout.read(4)
    if len(head) < 4:
        raise StartError(f"the library's process ended; its log is {log}")
    return stdout.read(int.from_bytes(head, "little"))


def posted(url: str, path: str, body: bytes, content_type: str) -> tuple[Times, bytes]:
    """Return how long a request to a host takes, on a connection of its own, and its answer; raises StartError."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=600)
    connection.connect()
    try:
        began = time.perf_counter()
        connection.request("POST", path, body, {"Content-Type": content_type})
        answer = connection.getresponse()
        data = answer.read(1)
        first = time.perf_counter()
        data += answer.read()
        ended = time.perf_counter()
    finally:
        connection.close()
    if answer.status != 200:
        raise StartError(f"the host answered {answer.status}: {data[:300]!r}")
    return {FIRST: first - began, WHOLE: ended - began}, data


def in_turns(by_library: Ask, by_host: Ask, pairs: int) -> tuple[tuple[Times, ...], tuple[Times, ...]]:
    """Return how long both ways take, ``pairs`` times in turns, after a first time that pays for what stays."""
    for ask in (by_library, by_host):
        ask()
    taken = [(by_library(), by_host()) if pair % 2 else (by_host(), by_library())[::-1] for pair in range(pairs)]
    here, there = zip(*taken, strict=True)
    return here, there
