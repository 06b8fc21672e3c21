# First message
curl -X POST http://localhost:8099/vllm/mcp -d '{
  "method": "tools/call",
  "params": {
    "name": "chat_completion",
    "arguments": {
      "session_id": "user-123",
      "messages": [{"role": "user", "content": "My name is Alice"}]
    }
  }
}'

# Second message (remembers context)
curl -X POST http://localhost:8099/vllm/mcp -d '{
  "method": "tools/call",
  "params": {
    "name": "chat_completion",
    "arguments": {
      "session_id": "user-123",
      "messages": [{"role": "user", "content": "What is my name?"}]
    }
  }
}'
