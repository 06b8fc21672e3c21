# First turn
curl -X POST http://localhost:8099/vllm/mcp -d '{
  "jsonrpc": "2.0",
  "id": 1,
  "method": "tools/call",
  "params": {
    "name": "chat_completion",
    "arguments": {
      "session_id": "conv-001",
      "messages": [
        {"role": "user", "content": "I need help with Python decorators"}
      ],
      "max_tokens": 150
    }
  }
}'

# Second turn (remembers context)
curl -X POST http://localhost:8099/vllm/mcp -d '{
  "jsonrpc": "2.0",
  "id": 2,
  "method": "tools/call",
  "params": {
    "name": "chat_completion",
    "arguments": {
      "session_id": "conv-001",
      "messages": [
        {"role": "user", "content": "Can you show an example?"}
      ],
      "max_tokens": 200
    }
  }
}'
