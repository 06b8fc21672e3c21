"""Saving what a host holds, and bringing it back: models, conversations, prompt caches."""
