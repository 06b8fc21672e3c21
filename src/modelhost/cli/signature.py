"""Commands whose options are made by code: Typer reads a function's signature, so that is what is written here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any


def option(name: str, annotation: Any, info: Any) -> inspect.Parameter:
    """A parameter that Typer makes an option or argument of; ``info`` is its ``typer.Option`` or default."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=info, annotation=annotation)


def with_signature(function: Callable[..., None], parameters: Iterable[inspect.Parameter]) -> Callable[..., None]:
    """``function``, which takes any keywords, with these parameters as its signature."""
    keywords = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in keywords}
    vars(function).update(__signature__=inspect.Signature(keywords))
    return function
