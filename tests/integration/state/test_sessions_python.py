"""Sessions in Python: a parameter like any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import modelhost
from modelhost.errors import ModelFileMissing


def test_a_model_of_ones_own_remembers_over_its_end(tmp_path: Path) -> None:
    settings: Any = {"threads": 1, "data_dir": str(tmp_path)}
    with modelhost.LLM(**settings) as llm:
        llm.chat("My name is Anna.", session_id="mine", temperature=0)
    with modelhost.LLM(**settings) as llm:
        chunks = list(llm.stream("What is my name?", session_id="mine", temperature=0))
        text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
        assert "Anna" in text
        session = llm.wait_for(llm.host.state.sessions.get("mine"))
        assert [message["role"] for message in session.messages] == ["user", "assistant"] * 2
        assert session.messages[-1]["content"] == text


async def test_a_host_that_cannot_start_leaves_no_database_open(tmp_path: Path) -> None:
    host = modelhost.Host(model=str(tmp_path / "none.gguf"), database_url=f"sqlite:///{tmp_path}/modelhost.db")
    with pytest.raises(ModelFileMissing):
        await host.start()
    assert not (tmp_path / "modelhost.db-wal").exists()  # SQLite takes it away when the last connection is closed
