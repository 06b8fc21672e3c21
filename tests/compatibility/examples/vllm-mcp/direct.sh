# Test initialize
echo '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}' | python vllm_server.py

# Test tools/list
echo '{"jsonrpc":"2.0","id":2,"method":"tools/list"}' | python vllm_server.py

# Test chat completion
echo '{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"chat_completion","arguments":{"messages":[{"role":"user","content":"Hello"}],"max_tokens":50}}}' | python vllm_server.py
