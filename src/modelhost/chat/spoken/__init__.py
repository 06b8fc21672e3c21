"""Answers of chats as audio: the text of a language model, spoken sentence by sentence by a speech model."""
