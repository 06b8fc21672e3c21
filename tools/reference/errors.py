"""``docs/reference/errors.md``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from modelhost import errors
from modelhost.errors import ModelhostError, SetupError, Unavailable
from modelhost.http.errors import STATUS
from modelhost.operations.advice import ADVICE
from tools.reference.tables import table

EXAMPLE_ERROR: Final[Mapping[str, Any]] = {
    "error": {
        "message": 'There is no model "gpt-5" here. Available: modelhost-nano.',
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
        "source": {"kind": "host"},
        "details": {"model": "gpt-5"},
    }
}


def errors_page() -> str:
    """Every leaf of the error tree with its status and what to do."""
    meanings = dict(re.findall(r"── (\w+) {2,}(.+)", errors.__doc__ or ""))
    setup = [leaf for leaf in STATUS if issubclass(leaf, SetupError)]
    served = [leaf for leaf in STATUS if leaf not in setup]

    def rows(leaves: Iterable[type[ModelhostError]]) -> Iterator[Sequence[str]]:
        for leaf in leaves:
            meaning = _sentence(meanings[leaf.__name__])
            yield f"`{leaf.code}`", str(STATUS[leaf]), f"`{leaf.__name__}`", meaning, ADVICE[leaf.code]

    header = ("Code", "Status", "Class", "Meaning", "What to do")
    retried = ", ".join(f"`{leaf.code}`" for leaf in served if issubclass(leaf, Unavailable))
    return f"""# Errors

Over HTTP, an error is OpenAI's error object with two more fields: `source` is the origin of the refusal (the host, or
the worker of a model), `details` contains values for programs.

```json
{json.dumps(EXAMPLE_ERROR, indent=2)}
```

In a stream that has started, the object is the last event, without `[DONE]` after it. In Python, the classes are in
`modelhost.errors`; each is a `modelhost.ModelhostError` with `code`, `message`, `param`, `details` and `source`.
{retried} have a `Retry-After` header.

## Requests

{table(header, rows(served))}
## Setup

Commands print the message and exit with status 1.

{table(header, rows(setup))}"""


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."
