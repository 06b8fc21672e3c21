"""The version, alone in its file so that the build and ``modelhost --version`` read the same line."""

__version__ = "0.1.0"
