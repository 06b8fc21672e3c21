#!/usr/bin/env bash
# Measures modelhost on a machine with a GPU of NVIDIA's: NVML's figures before a model is loaded, while it is and after it was
# unloaded, tokens per second of llama.cpp on the GPU and on the CPU, and the transformers worker on CUDA.
#
# Not run yet: it was written on a machine without a GPU. Nothing of its output is in the documentation.
#
# Usage: bench/gpu.sh [FOLDER]     needs `make dev`, curl, nvidia-smi and a package index; takes 8 minutes at most
set -euo pipefail

if [ -z "${GPU_BENCH_IS_BOUNDED-}" ]; then
    GPU_BENCH_IS_BOUNDED=1 exec timeout --kill-after=10 480 "$0" "$@"
fi

root=$(cd "$(dirname "$0")/.." && pwd)
folder=${1:-$(mktemp -d)}
mkdir -p "$folder"
python=$root/.venv/bin/python
port=8765
export MODELHOST_URL=http://127.0.0.1:$port MODELHOST_DATA_DIR=$folder/data
tokens=256
table=$folder/table.txt
host=

modelhost() { "$python" -m modelhost "$@"; }

row() { printf '%-34s %-14s %s\n' "$1" "$2" "$3" | tee -a "$table"; }

used() { nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits | paste -sd+ | bc; }

stop_host() {
    if [ -n "$host" ]; then
        kill "$host" 2>/dev/null || true
        wait "$host" 2>/dev/null || true
        host=
    fi
}
trap stop_host EXIT

# start_host MODEL OPTION...: returns when the model answers
start_host() {
    modelhost serve "$1" --alias bench --port "$port" "${@:2}" >>"$folder/host.log" 2>&1 &
    host=$!
    for _ in $(seq 120); do
        curl -sf "$MODELHOST_URL/ready" >/dev/null && return
        kill -0 "$host" || { tail -20 "$folder/host.log" >&2; exit 1; }
        sleep 0.5
    done
    echo "the host was not ready in a minute" >&2
    exit 1
}

# generate: prints the tokens per second of one answer, the second of two
generate() {
    local body="{\"model\": \"bench\", \"prompt\": \"Once upon a time\", \"max_tokens\": $tokens, \"temperature\": 0${1-}}"
    local seconds=
    for _ in 1 2; do
        seconds=$(curl -sf -o /dev/null -w '%{time_total}' -H 'Content-Type: application/json' \
            -d "$body" "$MODELHOST_URL/v1/completions")
    done
    echo "scale=1; $tokens / $seconds" | bc
}

: >"$table"
nvidia-smi --query-gpu=index,name,driver_version,memory.total,memory.free --format=csv
modelhost engines install llamacpp --build cuda

gguf=$folder/larger.gguf
if [ ! -f "$gguf" ]; then
    (cd "$root" && "$python" - "$gguf" <<'PYTHON'
import sys
from importlib.resources import files
from pathlib import Path

from bench.larger import Shape, write_larger

source = Path(str(files("modelhost"))) / "assets" / "nano" / "modelhost-nano.gguf"
write_larger(source, Path(sys.argv[1]), shape=Shape(layers=24, width=2048, feed_forward=5504, heads=32))
PYTHON
    )
fi

row "what" "MiB of GPUs" "tokens/s"
row "before" "$(used)" ""

start_host "$gguf" --context-length 4096
speed=$(generate ', "ignore_eos": true')
row "llama.cpp, as many layers as fit" "$(used)" "$speed"
modelhost models unload bench
row "after it was unloaded" "$(used)" ""
stop_host
grep -h -e gpu_not_used -e gpu_layers_reduced "$folder/host.log" || true

start_host "$gguf" --context-length 4096 --gpu-layers 0
speed=$(generate ', "ignore_eos": true')
row "llama.cpp, on the CPU" "$(used)" "$speed"
stop_host

if "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
    start_host "$root/tests/assets/nano-hf" --engine transformers
    speed=$(generate)
    row "transformers on CUDA (bundled model)" "$(used)" "$speed"
    modelhost models unload bench
    row "after it was unloaded" "$(used)" ""
    stop_host
else
    row "transformers on CUDA" "-" "PyTorch finds no GPU: pip install 'modelhost[transformers]'"
fi

echo
cat "$table"
