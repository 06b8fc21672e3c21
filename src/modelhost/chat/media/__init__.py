"""Images and sound in conversations: what a file is, and how much is in it, before a model gets it."""
