curl -X POST http://localhost:8099/vllm/mcp \
  -H "Content-Type: application/json" \
  -d '{
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {
      "name": "chat_completion",
      "arguments": {
        "messages": [
          {"role": "user", "content": "What is machine learning?"}
        ],
        "max_tokens": 100
      }
    }
  }'
