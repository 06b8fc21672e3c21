"""Sizes of memory as people write them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from modelhost.config.settings import Settings
from modelhost.config.sources import load
from modelhost.config.value_types import parse_size
from modelhost.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1000000", 1_000_000),
        ("24GB", 24_000_000_000),
        ("24 gb", 24_000_000_000),
        ("24G", 24_000_000_000),
        ("24GiB", 24 << 30),
        ("24Gi", 24 << 30),
        ("1.5 MiB", 3 << 19),
        ("7b", 7),
        (" 2TB ", 2_000_000_000_000),
    ],
)
def test_an_amount_is_bytes_whatever_there_is(text: str, amount: int) -> None:
    assert parse_size(text).of(0) == parse_size(text).of(1 << 60) == amount


@pytest.mark.parametrize(("text", "of_a_thousand"), [("80%", 800), ("100 %", 1000), ("0.5%", 5)])
def test_a_share_is_of_what_there_is(text: str, of_a_thousand: int) -> None:
    assert parse_size(text).of(1000) == of_a_thousand


@pytest.mark.parametrize(
    "text", ["", "x", "24 GB of it", "24Gbit", "-1", "-5%", "1e9", "0x10", "GB", "%", "1,5GB", "٣GB"]
)
def test_what_is_no_size_is_refused_with_the_forms_there_are(text: str) -> None:
    with pytest.raises(ValueError, match="expected a size such as 24GB, 24GiB, 24000000000"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "reason"), [("0", "nothing"), ("0.1", "nothing"), ("0%", "above 0%"), ("101%", "100%")]
)
def test_nothing_and_more_than_all_are_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_size(text)


@given(st.text(max_size=12) | st.from_regex(r"[0-9.]{1,5} ?[kKmMgGiIbB%]{0,3}", fullmatch=True))
def test_any_text_is_a_size_above_zero_or_refused(text: str) -> None:
    try:
        size = parse_size(text)
    except ValueError:
        return
    assert size.of(1 << 50) > 0


def test_a_bad_size_of_a_setting_is_a_sentence_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load({"memory_budget": "lots"}, config_path=None, environ={"MODELHOST_GPU_MEMORY_BUDGET": "120%"}, cwd=tmp_path)
    assert caught.value.details["problems"] == [
        'MODELHOST_GPU_MEMORY_BUDGET: expected a share above 0% and up to 100%, got "120%"',
        '--memory-budget: expected a size such as 24GB, 24GiB, 24000000000 (bytes) or 80%, got "lots"',
    ]


def test_a_number_of_bytes_may_be_a_number_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "modelhost.yaml").write_text("memory_budget: 24000000000\n")
    assert load({}, config_path=None, environ={}, cwd=tmp_path).settings.memory_budget == "24000000000"
    with pytest.raises(ValidationError):
        Settings.model_validate({"memory_budget": True})
