"""The request shapes that are read: what a path ends with, whoever serves it."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["LlmShape"]


class LlmShape(StrEnum):
    """How requests and answers are written."""

    CHAT = "chat"
    """OpenAI's `/chat/completions`, and whoever copies it."""
    RESPONSES = "responses"
    """OpenAI's `/responses`."""
    EMBEDDINGS = "embeddings"
    """OpenAI's `/embeddings`."""
    MESSAGES = "messages"
    """Anthropic's `/messages`."""
