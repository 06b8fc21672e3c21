"""How long a conversation a model gets, and how many at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhost.errors import ConfigError
from modelhost.models.files.gguf import GgufHeader, read_header
from modelhost.models.resolve.sizing import (
    FALLBACK_CONTEXT,
    LONGEST_DEFAULT,
    MOST_SLOTS,
    SHARE_OF_MEMORY,
    SHORTEST_BOUNDED,
    SHORTEST_DEFAULT,
    RequestedSize,
    load_timeout_seconds,
    size_for,
)
from tests.support.gguf_files import write_model

GB = 1_000_000_000
PLENTY = 1000 * GB


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> GgufHeader:
    """A model of 8 billion parameters as its header says: 32 layers, 8 key-value heads of 128, trained for 131,072."""
    tiny = read_header(write_model(tmp_path_factory.mktemp("model") / "tiny.gguf"))
    return replace(tiny, context_length=131_072, head_count_kv=(8,) * 32, key_length=128, value_length=128)


def _size(header: GgufHeader, available_bytes: int, **wanted: Any) -> tuple[int, int]:
    size = size_for(header, RequestedSize(**wanted), available_bytes=available_bytes)
    return size.context_length, size.slots


def test_with_plenty_of_memory_the_longest_default_and_most_slots(header: GgufHeader) -> None:
    assert _size(header, PLENTY) == (LONGEST_DEFAULT, MOST_SLOTS)


def test_a_short_model_keeps_its_own_length(header: GgufHeader) -> None:
    assert _size(replace(header, context_length=2048), PLENTY) == (2048, MOST_SLOTS)


def test_a_file_that_is_silent_about_its_length_gets_the_fallback(header: GgufHeader) -> None:
    assert _size(replace(header, context_length=None), PLENTY)[0] == FALLBACK_CONTEXT


@pytest.mark.promise("vllm-mcp.variables.max-model-len")
def test_little_memory_halves_the_context_before_it_gives_up_the_last_slot(header: GgufHeader) -> None:
    # 131,072 bytes for each token: 8 GB leave 2 GB for caches, which is 15,258 tokens.
    assert _size(header, 8 * GB) == (8192, 1)


def test_no_memory_at_all_still_gives_the_shortest_default(header: GgufHeader) -> None:
    assert _size(header, 0) == (SHORTEST_DEFAULT, 1)


def test_a_smaller_cache_type_brings_more(header: GgufHeader) -> None:
    assert _size(header, 8 * GB, kv_cache_type="q4_0") > _size(header, 8 * GB)


def test_what_the_caller_decided_is_never_changed(header: GgufHeader) -> None:
    assert _size(header, 0, context_length=100_000, slots=64) == (100_000, 64)


@given(
    memory=st.integers(0, PLENTY),
    context_length=st.none() | st.integers(16, 1_000_000),
    slots=st.none() | st.integers(1, 256),
)
def test_defaults_stay_within_the_share_of_memory_unless_they_are_the_least(
    header: GgufHeader, memory: int, context_length: int | None, slots: int | None
) -> None:
    found_length, found_slots = _size(header, memory, context_length=context_length, slots=slots)
    assert context_length in {None, found_length}
    assert slots in {None, found_slots}
    takes = found_length * found_slots * header.kv_bytes_per_token("f16")
    can_shrink = (context_length is None and found_length // 2 >= SHORTEST_DEFAULT) or (
        slots is None and found_slots > 1
    )
    assert takes <= memory * SHARE_OF_MEMORY or not can_shrink


def test_a_number_of_slots_may_be_bounded_without_being_decided(header: GgufHeader) -> None:
    assert _size(header, PLENTY, max_slots=16) == (LONGEST_DEFAULT, 16)
    assert _size(header, 8 * GB, max_slots=16) == (8192, 1)


def test_a_bound_for_the_cache_leaves_out_slots_first_and_then_shortens_the_context(header: GgufHeader) -> None:
    # 131,072 bytes for each token: 8,192 tokens a GiB.
    assert _size(header, PLENTY, cache_bytes=12 << 30) == (LONGEST_DEFAULT, 3)
    assert _size(header, PLENTY, cache_bytes=2 << 30) == (16384, 1)
    assert _size(header, PLENTY, cache_bytes=2 << 30, slots=4) == (4096, 4)
    assert _size(header, PLENTY, cache_bytes=2 << 30, context_length=4096) == (4096, 4)
    assert _size(header, PLENTY, cache_bytes=2 << 30, context_length=4096, max_slots=2) == (4096, 2)


def test_more_cache_than_a_quarter_of_the_memory_may_be_allowed(header: GgufHeader) -> None:
    assert _size(header, 0, cache_bytes=4 << 30) == (LONGEST_DEFAULT, 1)


def test_what_the_caller_decided_is_refused_where_it_exceeds_the_bound(header: GgufHeader) -> None:
    with pytest.raises(ConfigError, match=r"1 conversation of 100,000 tokens need 12,500 MiB .* may take 2,048 MiB"):
        _size(header, PLENTY, cache_bytes=2 << 30, context_length=100_000)
    with pytest.raises(ConfigError, match=r"8 conversations of 4,096 tokens .*lower slots, or take kv_cache_type q8_0"):
        _size(header, PLENTY, cache_bytes=2 << 30, context_length=4096, slots=8)
    with pytest.raises(ConfigError, match="1 conversation of 512 tokens"):
        _size(header, PLENTY, cache_bytes=1 << 20)


@given(
    bound=st.integers(1, PLENTY),
    context_length=st.none() | st.integers(16, 1_000_000),
    slots=st.none() | st.integers(1, 256),
    max_slots=st.none() | st.integers(1, 256),
)
def test_nothing_exceeds_the_bound_and_nothing_that_was_decided_is_changed(
    header: GgufHeader, bound: int, context_length: int | None, slots: int | None, max_slots: int | None
) -> None:
    wanted = RequestedSize(context_length=context_length, slots=slots, max_slots=max_slots, cache_bytes=bound)
    least = (context_length or SHORTEST_BOUNDED) * (slots or 1) * header.kv_bytes_per_token()
    if least > bound:
        with pytest.raises(ConfigError):
            size_for(header, wanted, available_bytes=PLENTY)
        return
    size = size_for(header, wanted, available_bytes=PLENTY)
    assert size.context_length * size.slots * header.kv_bytes_per_token() <= bound
    assert context_length in {None, size.context_length}
    assert slots in {None, size.slots}
    assert slots is not None or 1 <= size.slots <= (max_slots or MOST_SLOTS)


def test_a_large_file_may_take_longer_to_load() -> None:
    assert load_timeout_seconds(0, engine="llamacpp") == 60
    assert load_timeout_seconds(50 * GB, engine="llamacpp") == 60 + 1000
    assert load_timeout_seconds(0, engine="vllm") > 120
