"""The client side of MCP: servers of `mcp.json`, their tools under names for models, and one bounded call."""
