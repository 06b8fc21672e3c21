"""What is recorded, topic by topic."""
