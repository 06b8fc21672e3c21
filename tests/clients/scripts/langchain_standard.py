"""LangChain's own standard tests of chat models, with ``ChatAnthropic`` and ``ChatOllama``.

Run as ``python -P langchain_standard.py BASE_URL MODEL`` with the Python that has the client.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_ollama import ChatOllama
from langchain_tests.integration_tests import ChatModelIntegrationTests

URL, MODEL = os.environ.get("TRIED_URL", ""), os.environ.get("TRIED_MODEL", "")
TINY = pytest.mark.xfail(reason="the tiny model writes other arguments than the test expects", strict=True)


class StandardTests(ChatModelIntegrationTests):
    """What LangChain tests of every chat model. Calls come; what stands in them is up to the model, which is tiny."""

    __test__ = False

    @TINY
    def test_tool_calling(self, model: BaseChatModel) -> None:
        super().test_tool_calling(model)

    @TINY
    async def test_tool_calling_async(self, model: BaseChatModel) -> None:
        await super().test_tool_calling_async(model)

    @TINY
    def test_unicode_tool_call_integration(self, model: BaseChatModel) -> None:
        super().test_unicode_tool_call_integration(model)


class TestChatAnthropic(StandardTests):
    """By Anthropic's API."""

    __test__ = True

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatAnthropic

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": MODEL, "base_url": URL, "api_key": "unused", "max_tokens": 200, "max_retries": 0}

    @TINY
    def test_tool_calling_with_no_arguments(self, model: BaseChatModel) -> None:
        super().test_tool_calling_with_no_arguments(model)


class TestChatOllama(StandardTests):
    """By Ollama's API."""

    __test__ = True

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOllama

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": MODEL, "base_url": URL, "num_predict": 200, "temperature": 0}

    @property
    def has_tool_choice(self) -> bool:
        return False  # Ollama's API has none


if __name__ == "__main__":
    url, model = sys.argv[1:]
    os.environ.update(TRIED_URL=url.removesuffix("/v1"), TRIED_MODEL=model)
    # Without the configuration of this project; in one event loop, since the client keeps connections.
    settings = {
        "asyncio_mode": "auto",
        "asyncio_default_fixture_loop_scope": "session",
        "asyncio_default_test_loop_scope": "session",
    }
    options = [
        "-q",
        "-c",
        os.devnull,
        "--noconftest",
        "--import-mode=importlib",
        "-p",
        "no:cacheprovider",
        "--tb=short",
    ]
    chosen = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    sys.exit(pytest.main([*options, *chosen, __file__]))
