"""Resources."""

from __future__ import annotations

import json
import re
from typing import Final

import mcp_types as types

from tests.conformance.fixture_tools import PIXEL

RESOURCES: Final = (
    types.Resource(uri="test://static-text", name="static-text", mime_type="text/plain"),
    types.Resource(uri="test://static-binary", name="static-binary", mime_type="image/png"),
    types.Resource(uri="test://watched-resource", name="watched-resource", mime_type="text/plain"),
)
TEMPLATE: Final = types.ResourceTemplate(
    uri_template="test://template/{id}/data", name="template", mime_type="application/json"
)
TEXTS: Final = {
    "test://static-text": "This is the content of the static text resource.",
    "test://watched-resource": "Watched resource content",
}


def contents(uri: str) -> types.TextResourceContents | types.BlobResourceContents | None:
    """What stands at ``uri``, if it is one of these."""
    if uri in TEXTS:
        return types.TextResourceContents(uri=uri, mime_type="text/plain", text=TEXTS[uri])
    if uri == "test://static-binary":
        return types.BlobResourceContents(uri=uri, mime_type="image/png", blob=PIXEL)
    if found := re.fullmatch(r"test://template/([^/]+)/data", uri):
        data = {"id": found[1], "templateTest": True, "data": f"Data for ID: {found[1]}"}
        return types.TextResourceContents(uri=uri, mime_type="application/json", text=json.dumps(data))
    return None
