"""What a model's conversations begin with, before the messages of a request."""

from __future__ import annotations

from modelhost.chat.presets import with_preset
from modelhost.exchange.messages import Message
from modelhost.exchange.requests import ChatRequest
from modelhost.models.registry.entry import NO_PRESET, Preset

PRESET = Preset(system="own", messages=(Message(role="user", content="Hi"), Message(role="assistant", content="Ho")))
QUESTION = Message(role="user", content="question")


def contents(*messages: Message, preset: Preset = PRESET) -> list[str]:
    return [message.text for message in with_preset(ChatRequest(messages=messages), preset).messages]


def test_a_conversation_begins_with_the_system_message_and_the_messages_of_the_model() -> None:
    assert contents(QUESTION) == ["own", "Hi", "Ho", "question"]


def test_system_messages_of_the_request_replace_that_of_the_model() -> None:
    system = Message(role="system", content="theirs")
    developer = Message(role="developer", content="and more")
    assert contents(system, developer, QUESTION) == ["theirs", "and more", "Hi", "Ho", "question"]


def test_a_later_system_message_stays_where_it_is() -> None:
    assert contents(QUESTION, Message(role="system", content="late")) == ["own", "Hi", "Ho", "question", "late"]


def test_a_model_may_have_messages_alone() -> None:
    assert contents(QUESTION, preset=Preset(messages=PRESET.messages)) == ["Hi", "Ho", "question"]


def test_a_request_to_any_other_model_is_as_it_is() -> None:
    request = ChatRequest(messages=(QUESTION,))
    assert with_preset(request, NO_PRESET) is request
