"""Names of tools for models."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from modelhost.tools.names import ToolKey, meant_by, model_names, preferred_name

SAFE = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def names(*tools: tuple[str, str | None, str]) -> list[str]:
    preferred = {ToolKey(server, tool): preferred_name(server, prefix, tool) for server, prefix, tool in tools}
    found = model_names(preferred)
    return [found[ToolKey(server, tool)] for server, _, tool in tools]


def test_a_name_is_server_and_tool() -> None:
    assert names(("time", None, "now"), ("fs", "files", "read"), ("x", "", "bare")) == [
        "time_now",
        "files_read",
        "bare",
    ]


def test_a_name_of_100_characters_is_cut_and_marked() -> None:
    (name,) = names(("server", None, "t" * 100))
    assert len(name) == 64
    assert re.fullmatch(r"server_t{50}_[0-9a-f]{6}", name)


def test_a_changed_character_is_marked() -> None:
    (name,) = names(("my server", None, "do.it"))
    assert re.fullmatch(r"my_server_do_it_[0-9a-f]{6}", name)


def test_those_that_clash_are_both_marked_whatever_their_order() -> None:
    clash = (("a", None, "b_c"), ("a_b", None, "c"))
    one, other = names(*clash)
    assert one != other
    assert one.startswith("a_b_c_")
    assert other.startswith("a_b_c_")
    assert names(*reversed(clash)) == [other, one]


def test_another_server_renames_nothing() -> None:
    alone = names(("a", None, "x"), ("a", None, "y z"))
    assert names(("0", None, "x"), ("a", None, "x"), ("a", None, "y z"))[1:] == alone


def test_a_marked_name_that_someone_has_already_gets_more_digits() -> None:
    (marked,) = names(("a", None, "x y"))
    found = names(("a", None, "x y"), ("b", "", marked))
    assert found[1] == marked
    assert found[0] != marked


@settings(deadline=None)  # what is timed here is the machine
@given(st.lists(st.tuples(st.text(max_size=40), st.none() | st.text(max_size=5), st.text(max_size=80)), max_size=20))
def test_all_names_are_safe_and_different(tools: list[tuple[str, str | None, str]]) -> None:
    preferred = {ToolKey(server, tool): preferred_name(server, prefix, tool) for server, prefix, tool in tools}
    found = model_names(preferred)
    assert found.keys() == preferred.keys()
    assert all(SAFE.fullmatch(name) for name in found.values())
    assert len(set(found.values())) == len(found)


def test_what_a_person_may_mean() -> None:
    known = {
        "time_now": ToolKey("time", "now"),
        "clock_now": ToolKey("clock", "now"),
        "my_server_do_it_012345": ToolKey("my.server", "do.it"),
        "now": ToolKey("bare", "today"),
    }
    assert {name: meant_by(name, known) for name in ("time_now", "time.now", "my.server.do.it", "do.it", "ago")} == {
        "time_now": ["time_now"],
        "time.now": ["time_now"],
        "my.server.do.it": ["my_server_do_it_012345"],
        "do.it": ["my_server_do_it_012345"],
        "ago": [],
    }
    assert meant_by("now", known) == ["now"]  # a name for models goes before all others
    del known["now"]
    assert meant_by("now", known) == ["time_now", "clock_now"]
