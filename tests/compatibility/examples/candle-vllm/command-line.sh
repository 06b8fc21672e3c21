# Run with a model
cargo run --release --features cuda,nccl -- --m mistralai/Mistral-7B-Instruct-v0.3 --p 2000

# Run with local model path
cargo run --release --features metal -- --w /path/to/model/ --p 2000

# Run with MCP configuration
cargo run --release --features cuda,nccl -- --m mistralai/Mistral-7B-Instruct-v0.3 --mcp-config mcp.json --p 2000
