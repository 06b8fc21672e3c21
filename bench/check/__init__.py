"""The check: the working tree against another revision, both measured in one run."""
