"""Makes the pictures of ``docs/images.md``."""
