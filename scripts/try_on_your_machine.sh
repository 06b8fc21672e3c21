#!/usr/bin/env bash
# Checks modelhost with one model on this machine, and writes a report that can be pasted into an issue.
set -euo pipefail

usage() {
    cat <<'USAGE'
Usage: scripts/try_on_your_machine.sh [OPTIONS] [MODEL] [-- SERVE_OPTIONS...]

Starts a host of its own with MODEL, checks it, measures it, unloads it, and writes a report in Markdown: versions and
devices, the engine and build, time to load, first token, tokens per second, tool calls, a JSON schema, embeddings, and
memory before, during and after. Nothing is sent anywhere. A model on the hub is downloaded first if necessary.

MODEL is a hub id, a GGUF file, a directory or a URL, as for `modelhost serve`. Default: the bundled modelhost-nano.

Options:
  -o, --output FILE      The report. Default: modelhost-report-DATE-TIME.md in the working directory.
  -t, --timeout SECONDS  The time limit for download and load together. Default: 3600.
  -h, --help             Show this help.

Everything after -- goes to `modelhost serve`, such as -- --engine vllm --context-length 8192. Paths there must be
absolute, because the host runs in a temporary directory.

The command is $MODELHOST, else .venv/bin/modelhost of this repository, else modelhost on the PATH. HF_TOKEN and other
variables apply as usual; a modelhost.yaml, .env or mcp.json in the working directory does not. The report contains
neither the values of variables whose names end in KEY, TOKEN, SECRET or PASSWORD nor your home directory. The exit
status is 0 if every check passed, 1 if one failed, and 2 for an invalid command line.

Examples:
  scripts/try_on_your_machine.sh
  scripts/try_on_your_machine.sh Qwen/Qwen3-4B-GGUF:Q4_K_M
  scripts/try_on_your_machine.sh Qwen/Qwen3-4B --output report.md -- --engine vllm
USAGE
}

fail_usage() {
    echo "try_on_your_machine.sh: $1 (--help shows the options)" >&2
    exit 2
}

model=
output=modelhost-report-$(date +%Y%m%d-%H%M%S).md
seconds=3600
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help)
            usage
            exit
            ;;
        -o | --output)
            [ $# -ge 2 ] || fail_usage "$1 needs a value"
            output=$2
            shift
            ;;
        -t | --timeout)
            [ $# -ge 2 ] || fail_usage "$1 needs a value"
            seconds=$2
            shift
            ;;
        --)
            shift
            break
            ;;
        -*) fail_usage "unknown option $1" ;;
        *)
            [ -z "$model" ] || fail_usage "one model at a time"
            model=$1
            ;;
    esac
    shift
done
case $seconds in '' | *[!0-9]*) fail_usage "--timeout takes a number of seconds" ;; esac
serve_options=("$@")

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
modelhost=${MODELHOST:-$here/../.venv/bin/modelhost}
[ -n "${MODELHOST:-}" ] || [ -x "$modelhost" ] || modelhost=modelhost
modelhost=$(command -v "$modelhost") || {
    echo "There is no modelhost: run \`make run\` in the repository, or name the command with MODELHOST=..." >&2
    exit 1
}
case $modelhost in /*) ;; *) modelhost=$PWD/$modelhost ;; esac
python=$(dirname "$modelhost")/python
[ -x "$python" ] || python=python3
if [ -n "$model" ] && [ -e "$model" ]; then
    model=$(cd "$(dirname "$model")" && pwd)/$(basename "$model")
fi

folder=$(mktemp -d)
draft=$folder/report.md
log=$folder/host.log
host=
status=0

stop_host() {
    [ -n "$host" ] || return 0
    kill "$host" 2>/dev/null || true
    wait "$host" || status=1
    host=
}
trap 'stop_host; rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

say() { printf '%s\n' "$*" >>"$draft"; }
progress() { printf '%s\n' "$*" >&2; }
# row CELL...: a row of a table; line breaks in a cell become semicolons
row() {
    local line='|' cell
    for cell in "$@"; do
        line="$line $(printf '%s' "$cell" | tr '\n|' ';/') |"
    done
    say "$line"
}
block() { { printf '```text\n%s\n' "$1" | sed 's/ *$//' && printf '```\n'; } >>"$draft"; }

system() {
    uname -srm
    sed -n 's/^PRETTY_NAME="\(.*\)"/\1/p' /etc/os-release 2>/dev/null || sw_vers -productVersion 2>/dev/null || true
}
processor() {
    sed -n 's/^model name[^:]*: //p' /proc/cpuinfo 2>/dev/null | head -n 1 || true
    sysctl -n machdep.cpu.brand_string 2>/dev/null || true
}
gpus() {
    if command -v nvidia-smi >/dev/null; then
        nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader 2>&1 || true
    elif command -v rocm-smi >/dev/null; then
        rocm-smi --showproductname --showmeminfo vram --csv 2>&1 || true
    elif command -v system_profiler >/dev/null; then
        system_profiler SPDisplaysDataType 2>/dev/null | sed -n 's/^ *Chipset Model: //p' || true
    elif command -v lspci >/dev/null; then
        lspci 2>/dev/null | grep -E 'VGA|3D|Display' || true
    fi
}
gpu_memory() { nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits 2>/dev/null || true; }
free_memory() { awk '/^MemAvailable/ { printf "%d", $2 / 1024 }' /proc/meminfo 2>/dev/null || true; }
ask_host() { "$python" "$here/try_model.py" "$1" "$url" "$name" >>"$draft" || status=1; }

say "# Report of modelhost on a machine"
say
say '| | |'
say '| --- | --- |'
row Date "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
row modelhost "$("$modelhost" --version)"
row Python "$("$python" --version 2>&1)"
row System "$(system)"
row Processor "$(processor)"
row Cores "$(getconf _NPROCESSORS_ONLN)"
row 'Memory, MiB' "$(awk '/^MemTotal/ { printf "%d", $2 / 1024 }' /proc/meminfo 2>/dev/null || sysctl -n hw.memsize)"
found=$(gpus)
row GPUs "${found:-none found}"
row Model "${model:-modelhost-nano (bundled)}"
row Options "${serve_options[*]+${serve_options[*]}}"
say
say '## Engines'
say
block "$("$modelhost" engines list 2>&1 || true)"

name="model-under-test"
progress "Loading ${model:-the bundled model}; a model on the hub is downloaded first."
memory_before=$(gpu_memory) free_before=$(free_memory)
began=$SECONDS
(
    cd "$folder"
    # A host for this check alone: no keys, no MCP servers, a database of its own.
    unset MODELHOST_API_KEYS MODELHOST_API_KEY MODELHOST_MCP_CONFIG CANDLE_VLLM_MCP_CONFIG MODELHOST_MCP_PORT
    exec "$modelhost" serve ${model:+"$model"} --alias "$name" --host 127.0.0.1 --port 0 \
        --database-url "sqlite:///$folder/state.db" --log-level debug --log-format json \
        ${serve_options[@]+"${serve_options[@]}"} >"$folder/host.out" 2>"$log"
) &
host=$!
url=
while [ -z "$url" ] && [ $((SECONDS - began)) -lt "$seconds" ] && kill -0 "$host" 2>/dev/null; do
    sleep 0.2
    url=$(sed -n '/"event": "listening"/ s/.*"url": "\(http[^"]*\)".*/\1/p' "$log")
done

say
say '## Checks'
say
say '| Check | Result | Details |'
say '| --- | --- | --- |'
if [ -n "$url" ]; then
    row Load pass "ready to answer after $((SECONDS - began)) s, download included"
    progress "Checking it at $url."
    ask_host check
    memory_loaded=$(gpu_memory) free_loaded=$(free_memory)
    ask_host unload
else
    status=1
    row Load fail "not ready after $((SECONDS - began)) s"
fi
stop_host

memory_after=$(gpu_memory) free_after=$(free_memory)

say
say '## Memory, MiB'
say
say '| When | Used on each GPU | Available in main memory |'
say '| --- | --- | --- |'
row 'Before' "$memory_before" "$free_before"
row 'Loaded' "${memory_loaded:-}" "${free_loaded:-}"
row 'After' "$memory_after" "$free_after"
say
say '## Log'
say
# What was decided about engine, build, sizes and GPUs, and what went wrong.
events='engine_|model_sized|gpu_|worker_ready|worker_start_failed|worker_lost|model_unusable|launch_parameter|offloaded|"level": "(warning|error)"'
block "$(grep -E "$events" "$log" | cut -c 1-1000 | tail -n 60 || true)"
if [ -z "$url" ]; then
    say
    block "$(tail -n 40 "$log" | cut -c 1-1000)"
fi

"$python" "$here/try_model.py" redact <"$draft" >"$output"
grep -E '^\| .* \| (pass|fail|skipped|info) \|' "$output" >&2 || true
if [ "$status" = 0 ]; then progress "Every check passed."; else progress "A check failed."; fi
printf '%s\n' "$output"
exit "$status"
