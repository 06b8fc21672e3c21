"""What the id of a session may be: it stands in headers, logs and terminals, where control characters do something."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import Field

LONGEST_ID: Final = 256
"""In characters."""
WITHOUT_CONTROLS: Final = r"^[^\x00-\x1f\x7f-\x9f]*$"
"""As descriptions have it."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")

SessionId = Annotated[str, Field(min_length=1, max_length=LONGEST_ID)]
"""Of a session that may be there: one that an earlier version stored may be called anything."""
NewSessionId = Annotated[SessionId, Field(json_schema_extra={"pattern": WITHOUT_CONTROLS})]
"""Of a session that may be begun; what stores it refuses one that does not fit."""


def is_session_id(text: str) -> bool:
    """Whether a session may be begun with the id ``text``."""
    return 1 <= len(text) <= LONGEST_ID and not _CONTROL.search(text)
