"""Generates options of commands by setting the signature that Typer reads."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from modelhost import lazy

MARKUP: Final = re.compile(r"\[[a-z#/@]|\\$")
"""What rich takes as markup, or escapes at the end of a text."""


def option(name: str, annotation: Any, info: Any) -> inspect.Parameter:
    """Return a parameter that Typer turns into an option or argument; ``info`` is its ``typer.Option`` or default."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=info, annotation=annotation)


def literal(text: str) -> str:
    """Return ``text`` for a help, which shows it without taking anything in it as rich's markup."""
    return lazy.rich_markup.escape(text) if MARKUP.search(text) else text


def with_signature(function: Callable[..., None], parameters: Iterable[inspect.Parameter]) -> Callable[..., None]:
    """Give ``function``, which takes any keywords, a signature with these parameters."""
    keywords = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in keywords}
    vars(function).update(__signature__=inspect.Signature(keywords))
    return function
