"""Checking chat templates in Jinja before a model has them. The engines compile them; here nothing is rendered."""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Any, Final

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from modelhost.errors import InvalidRequest


class GenerationTag(Extension):
    """``{% generation %}``, with which templates of the transformers library mark what the model writes."""

    tags = {"generation"}  # noqa: RUF012 (as Jinja defines it)

    def parse(self, parser: Any) -> Any:
        """Return the statements inside."""
        parser.stream.skip(1)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


ENVIRONMENT: Final = ImmutableSandboxedEnvironment(extensions=[loopcontrols, GenerationTag])
"""The syntax that the templates of models use: Jinja's, ``break`` and ``continue``, and the tag above."""


LOADING: Final = frozenset({"extends", "from", "import", "include"})
"""Statements that load other templates, of which a model has none."""


def check_jinja(template: str, unknown: Set[str]) -> None:
    """Check the syntax of ``template``, and that it has no statement of ``LOADING`` or ``unknown``.

    Names of filters and functions are left to the engine. Blocks.

    Raises:
        InvalidRequest: it does not compile, or has such a statement.
    """
    try:
        ENVIRONMENT.parse(template)
    except jinja2.TemplateSyntaxError as error:
        reason = f"line {error.lineno}: {error.message}"
    except RecursionError:
        reason = "its parts are nested too deeply"
    else:
        _check_statements(template, unknown)
        return
    raise InvalidRequest(
        f"template: it is Jinja, but does not compile ({reason}). Correct it, or leave it out, so that the model's own "
        "is used.",
        param="template",
    )


def _check_statements(template: str, unknown: Set[str]) -> None:
    for line, statement in _statements(template):
        if statement in LOADING:
            reason = "loads another template, and a model has only this one"
        elif statement in unknown:
            reason = "is no statement that the engine of this model knows"
        else:
            continue
        raise InvalidRequest(
            f"template: {{% {statement} %}} in line {line} {reason}. Write the template without it, or leave it out, "
            "so that the model's own is used.",
            param="template",
        )


def _statements(template: str) -> Iterator[tuple[int, str]]:
    """Yield the name of each statement of ``template``, which compiles, with its line."""
    begins = False
    for line, kind, text in ENVIRONMENT.lex(template):
        if kind == "raw_begin":
            yield line, "raw"
        elif kind == "name" and begins:
            yield line, text
        begins = kind == "block_begin" or (begins and kind == "whitespace")
