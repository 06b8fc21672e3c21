"""Programs of other makers, each in an environment of its own, beside the host: proxies, and builds of llama.cpp."""
