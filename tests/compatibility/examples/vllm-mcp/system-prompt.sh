curl -X POST http://localhost:8099/vllm/mcp -d '{
  "jsonrpc": "2.0",
  "id": 1,
  "method": "tools/call",
  "params": {
    "name": "chat_completion",
    "arguments": {
      "messages": [
        {"role": "system", "content": "You are a helpful coding assistant. Always provide code examples."},
        {"role": "user", "content": "How do I sort a list in Python?"}
      ],
      "temperature": 0.3,
      "max_tokens": 200
    }
  }
}'
