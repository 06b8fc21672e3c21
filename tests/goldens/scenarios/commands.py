"""Runs of every command: those that ask a running host, and those that need none."""

from __future__ import annotations

from typing import Final

from tests.goldens.command_recording import Command

SESSIONS: Final = (
    '{"version": 1, "sessions": [{"session_id": "bert", "model": "one", "messages": '
    '[{"role": "user", "content": "hello"}, {"role": "assistant", "content": "Hello."}]}]}'
)


def remote(line: str, **more: object) -> Command:
    """A command that asks the host."""
    return Command(line=f"{line} --url $host", **more)  # type: ignore[arg-type]


def both(line: str) -> tuple[Command, Command]:
    """A command that only shows, for people and as JSON."""
    return remote(line), remote(f"{line} --json")


MODELS: Final = (
    remote("models load one --wait", may_miss=" loading"),
    remote("models load one --json"),
    remote("models load one --dtype bfloat16", provokes="unsupported_parameter"),
    *both("models status"),
    remote("models set one temperature=0.5 max_tokens=30"),
    remote("models set one temperature=null max_tokens=null --json"),
    remote("models set one temperature=hot", provokes="invalid_request"),
    remote("models select one"),
    remote("models select one --json"),
    remote("models load none", provokes="model_not_found"),
    remote("models load ./none.gguf", provokes="model_not_allowed"),
    remote("models load broken --wait", provokes="worker_start_failed", may_miss=" loading"),
    remote("models unload two"),
    remote("models unload two --json"),
    remote("models status --watch --json", interrupted_after='"large"'),
)
TALK: Final = (
    remote("ask /echo one two"),
    remote("ask - --model one", stdin="/echo three"),
    remote("ask /echo one two --json"),
    remote("ask /error 500", provokes="engine_error"),
    remote("ask hello --model none", provokes="model_not_found"),
    remote("chat", stdin="hello\n/model\n/echo one\n/quit\n"),
    remote("speak '/echo one two' -o said.wav --voice two --speed 1.5"),
    remote("speak - -o - --format pcm", stdin="/echo three"),
    remote("speak hello -o said.doc"),
    remote("speak ...", provokes="nothing_to_speak"),
    remote("speak hello --voice none", provokes="invalid_request"),
    remote("transcribe sound.wav"),
    remote("transcribe sound.wav --format srt --language de"),
    remote("transcribe sound.wav --format vtt"),
    remote("transcribe sound.wav --format json"),
    remote("transcribe said.wav", provokes="invalid_audio"),
    remote("transcribe sound.wav --model none", provokes="model_not_found"),
    remote("image '/echo one two' -o a.png --size 64x128 --seed 1 -n 2"),
    remote("image '/echo one' --image a-1.png --strength 0.5 --seed 1 -o b.webp"),
    remote("image one -o a.gif"),
    remote("image one --image sound.wav", provokes="invalid_image"),
    remote("image one --size 63x64", provokes="invalid_request"),
    Command(line="launch claude --url $host --print -- -p hello"),
    remote("launch codex --print"),
    remote("launch opencode --model none"),
    remote("mcp llm", process=True, stdin='{"jsonrpc": "2.0", "id": 1, "method": "ping"}\n'),
)
NUMBERS: Final = r"(?m)(?<= )(?:-|[\d.,]+)(?: ms| s| %)?(?= |$)"
"""In tables."""
TOOLS: Final = (
    *both("tools servers"),
    *both("tools list --server stub"),
    remote("tools call stub_echo text=four"),
    remote("tools call stub.echo text=four --whole"),
    remote("""tools call stub_fail --json '{"text": "out of order"}'"""),
    remote("tools call none", provokes="tool_not_found"),
    *both("tools resources"),
    *both("tools resource sdk memo://one"),
    *both("tools prompts"),
    *both("tools prompt sdk greet name=Anna"),
    remote("tools disable stub"),
    remote("tools call stub_echo text=four", provokes="tool_server_unavailable"),
    remote("tools enable stub --json"),
    remote("tools restart stub"),
    remote("tools disable stub --json"),
    remote("tools enable stub"),
    remote("tools servers", awaits=r"(?m)^stub +ready ", hides=NUMBERS),
    remote("tools restart stub --json"),
    remote("tools restart none", provokes="mcp_server_not_found"),
    Command(line="tools list --config stub.json"),
    Command(line="tools call stub_echo text=four --config stub.json"),
)
STATE: Final = (
    remote("sessions import -", stdin=SESSIONS),
    *both("sessions list"),
    *both("sessions show bert"),
    remote("sessions export bert"),
    remote("sessions export --output exported.json"),
    remote("sessions show none", provokes="session_not_found"),
    remote("sessions rm bert"),
    remote("sessions list"),
    remote("state save label"),
    remote("state save label --include-metrics --json"),
    *both("state list"),
    remote("state load label --wait"),
    remote("state load label --wait --json"),
    remote("state load none", provokes="state_not_found"),
    remote("state clear", stdin="n\n"),
    remote("state clear label --include-models"),
    remote("state clear --yes --json"),
    remote("audit --operation delete-session", hides=r"\b\d+\.\d\b"),
    remote("audit --operation delete-session --json"),
)
STATS: Final = "stats --duration-seconds 3600 --model one"
MONITOR: Final = (
    remote(f"{STATS} --metrics throughput,latency", hides=NUMBERS),
    remote(f"{STATS} --json"),
    *both("gpus"),
    remote("alerts --rule model-failed", awaits="Past changes"),
    remote("alerts --rule model-failed --json"),
)
"""With the alert of the model that ``MODELS`` could not load."""
WITH_HOST: Final = (*MODELS, *MONITOR, *TALK, *TOOLS, *STATE)

WITHOUT_HOST: Final = (
    Command(line="--version"),
    Command(line=""),
    Command(line="nonsense"),
    Command(line="models load"),
    Command(line="models status --url $nowhere", provokes="host_unreachable"),
    Command(line="models status --url ftp://nonsense", provokes="config_error"),
    Command(line="models status --url nonsense", provokes="config_error"),
    Command(line="models scan models"),
    Command(line="models scan models --json --output again.json"),
    Command(line="models show modelhost-nano", shown="head"),
    Command(line="models show modelhost-nano --json"),
    Command(line="models show none.gguf", provokes="model_file_missing"),
    Command(line="models show broken.gguf"),
    Command(line="models pull org/nano-GGUF", process=True, variables={"HF_ENDPOINT": "$hub"}),
    Command(line="models list --json", process=True, variables={"MODELHOST_MODELS_CONFIG": "registry.yaml"}),
    Command(line="models list --json", process=True, variables={"OLLAMA_MODELS": "ollama"}),
    Command(line="models rm org/nano-GGUF --yes", process=True),
    Command(line="engines list --json", shown="keys"),
    Command(line="engines install none"),
    Command(line="engines install mistralrs --build native"),
    Command(line="config show --port 9000"),
    Command(line="config show --port 9000 --json"),
    Command(line="config check good.yaml"),
    Command(line="config check bad.yaml", provokes="config_error"),
    Command(
        line="serve --port 0 --engine scripted --alias scripted --threads 1 --log-format json",
        ended_after="curl",
    ),
    Command(
        line="--port 0 --engine scripted --alias scripted --threads 1 --log-format json",
        variables={"RUST_LOG": "warn,hyper=info"},
        ended_after="curl",
    ),
    Command(line="--port 0 models status"),
    Command(
        line="gguf -m models -f nano.gguf --port 0 --threads 1 --log-format json",
        variables={"MODELHOST_LOG_LEVEL": "warning"},
        ended_after="curl",
    ),
    Command(line="run -m scripted --engine scripted --threads 1 -i", stdin="hello\n/quit\n"),
    Command(line="plain -m scripted --engine scripted -i", stdin="hello\n"),
    Command(line="diffusion -m pipeline -a flux --port 0", provokes="engine_missing"),
    Command(line="diffusion -m pipeline -a flux-offloaded", provokes="config_error"),
    Command(line="speech -m hibari --port 0", provokes="engine_missing"),
    Command(line="serve none.gguf", provokes="model_file_missing"),
    Command(line="serve broken.gguf", provokes="model_file_invalid"),
    Command(line="serve hf-model --engine vllm", provokes="engine_missing"),
    Command(line="serve --port $taken --engine scripted", provokes="port_in_use"),
    Command(line="serve --database-url sqlite:///file/modelhost.db --engine scripted", provokes="database_unavailable"),
    Command(line="serve --colour red"),
)
