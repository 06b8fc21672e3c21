"""Request defaults of the settings: checked as such, and known to the engine."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from modelhost.config.settings import Settings
from modelhost.config.sources import load
from modelhost.models.resolve.locate import single_entry


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (["temperature=0.5", "min_tokens_to_keep=2"], {"temperature": 0.5, "min_tokens_to_keep": 2}),
        (["stop=END"], {"stop": ["END"]}),
        (["seed=-1"], {"seed": -1}),
    ],
)
def test_text_of_the_command_line_becomes_what_it_stands_for(given: Any, read: dict[str, Any], tmp_path: Any) -> None:
    effective = load({"request_defaults": given}, config_path=None, environ={}, cwd=tmp_path)
    assert effective.settings.request_defaults == read


@pytest.mark.parametrize(
    ("values", "said"), [({"tempreture": 1}, '"tempreture" has no default'), ({"top_p": 2}, '"top_p"')]
)
def test_what_is_no_default_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Settings(request_defaults=values)


def test_the_model_of_the_settings_has_them() -> None:
    assert single_entry(Settings(engine="scripted", request_defaults={"seed": 1})).defaults == {"seed": 1}
