# Load a model via MCP
crush --tool mcp_vllm-model-manager_load-model \
  --model-id meta-llama/Llama-3.1-8B-Instruct \
  --tensor-parallel-size 2

# Check performance metrics
crush --tool mcp_vllm-performance-monitor_get-metrics \
  --duration-seconds 300

# Save current session state
crush --tool mcp_vllm-state-persistence_save-state \
  --session-id current \
  --include-models true
