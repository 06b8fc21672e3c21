"""What a hub, or something in its place, can do to a download is one sentence."""

from __future__ import annotations

import json

import pytest

from modelhost.errors import DownloadFailed
from modelhost.models.hub.errors import translated_errors
from modelhost.models.hub.references import HubReference


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (json.JSONDecodeError("Expecting value", "<html>", 0), "does not answer as a hub"),
        (KeyError("sha"), "does not answer as a hub"),
        (ImportError("Using SOCKS proxy, but the 'socksio' package is not installed."), "unset ALL_PROXY"),
    ],
)
def test_an_answer_that_is_none_and_a_missing_package_are_told(fault: Exception, said: str) -> None:
    with (
        pytest.raises(DownloadFailed, match=said),
        translated_errors(HubReference(repository="org/model"), "http://hub"),
    ):
        raise fault
