"""modelhost as MCP servers: chat, model manager, state persistence."""
