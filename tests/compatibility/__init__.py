"""What the documents of the systems that this host replaces promise, and the tests that prove it."""
