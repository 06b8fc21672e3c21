"""Command lines of ``llama-server``, a new one and one of February 2025, for configurations that the engine makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelhost.engines.adapters import Adapter
from modelhost.engines.launch import ModelSpec
from modelhost.engines.llamacpp import engine
from modelhost.engines.llamacpp.config import tasks_of
from modelhost.engines.llamacpp.engine import LlamaCpp
from modelhost.engines.llamacpp.program import ServerProgram, flags_in
from modelhost.engines.llamacpp.server_flags import CommandLine, MissingFlagError, command_line
from tests.support.llama_server_stub import RECORDED

LARGE = 150_000  # entries of a vocabulary, with which a model that chats makes no embeddings


def program(age: str, *, without: str = "") -> ServerProgram:
    flags = flags_in((RECORDED / f"{age}-help.txt").read_text())
    flags.pop(without, None)
    return ServerProgram(path="/bin/llama-server", version="1 (a)", flags=flags, variables=frozenset())


def started(
    age: str, *, without: str = "", template: str | None = None, folder: str | None = "/f", **spec: Any
) -> CommandLine:
    options = {"server": "/bin/llama-server", **spec.pop("options", {})}
    known = {"context_length": 1000, "slots": 3, "threads": 2, "vocab_size": LARGE, **spec}
    launch = LlamaCpp().launch(ModelSpec(name="m", path=Path("/m.gguf"), options=options, **known), "secret")
    config = {**launch.config, "folder": folder}
    return command_line(config, program(age, without=without), host="/s/x.sock", port=0, template=template)


def words(line: CommandLine) -> str:
    return f"{' '.join(line.arguments)} "


@pytest.mark.parametrize("age", ["new", "old"])
def test_what_every_version_gets(age: str) -> None:
    line = words(started(age))
    assert line.startswith("/bin/llama-server --host /s/x.sock --port 0 --alias m --threads-http 264 ")
    for part in (
        "--parallel 3 --ctx-size 3000 --no-context-shift ",
        "--batch-size 1002 --ubatch-size 512 ",
        "--threads 2 --threads-batch 2 ",
        "--slots --metrics ",
        "--slot-save-path /f/ ",
        "--check-tensors ",
        "--model /m.gguf --jinja ",
    ):
        assert part in line
    assert "secret" not in line
    assert "--embeddings" not in line


@pytest.mark.parametrize("age", ["new", "old"])
def test_each_thread_is_kept_on_a_cpu_of_its_own_for_prompts_and_answers(
    age: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "allowed_cpus", lambda: frozenset({0, 5}))
    mask = "--cpu-mask 21 --cpu-strict 1 --cpu-mask-batch 21 --cpu-strict-batch 1 "
    assert mask in words(started(age))
    assert "--cpu-" not in words(started(age, threads=1))
    without = started(age, without="--cpu-mask")
    assert "--cpu-mask" in without.lacks
    assert "--cpu-mask " not in words(without)


def test_a_new_one_gets_all_that_the_library_gets() -> None:
    line = started("new")
    assert line.lacks == ()
    for part in (
        "--no-ui ",
        "--offline ",
        "--sse-ping-interval -1 ",
        "--kv-unified --kv-unified-per-slot 1000 ",
        "--cache-type-k f16 --cache-type-v f16 ",
        "--cache-prompt --cache-ram 512 --cache-reuse 0 ",
        "--flash-attn auto ",
        "--fit off --load-mode mmap ",
        "--verbosity 1 ",
    ):
        assert part in words(line)
    assert "--n-gpu-layers" not in words(line)  # auto by itself


def test_what_an_old_one_lacks_and_nobody_asked_for_is_left_away_and_told() -> None:
    line = started("old")
    assert line.lacks == ("--sse-ping-interval", "--offline", "--cache-ram", "--kv-unified-per-slot")
    assert "--no-webui " in words(line)
    assert "--n-gpu-layers 999 " in words(line)
    # With what they do not have, or that means something else there.
    for flag in ("--kv-unified", "--flash-attn", "--verbosity", "--load-mode", "--no-mmap", "--fit"):
        assert flag not in words(line)


@pytest.mark.parametrize(
    ("spec", "refusal"),
    [
        (
            {"options": {"cache_ram_mib": 100}},
            r"--cache-ram, which engine option cache_ram_mib=100 requires; use a new",
        ),
        (
            {"options": {"enable_prefix_caching": False}},
            "--no-cache-prompt, which engine option enable_prefix_caching=f",
        ),
        ({"options": {"speculation": "ngram-mod"}}, "--spec-type ngram-mod, which engine option speculation=ngram-mod"),
        ({"mmproj_path": Path("/e.gguf")}, "--mmproj, which mmproj requires"),
        ({"options": {"embeddings": True}}, r"--kv-unified-per-slot, which engine option embeddings=True \(beside ch"),
    ],
)
def test_what_an_old_one_lacks_and_somebody_asked_for_is_refused_by_name(spec: dict[str, Any], refusal: str) -> None:
    with pytest.raises(
        MissingFlagError, match=rf"^this llama-server \(version 1 \(a\), /bin/llama-server\) has no {refusal}"
    ):
        started("old", **spec)
    assert started("new", **spec).lacks == ()


@pytest.mark.parametrize("flag", ["--jinja", "--no-context-shift", "--threads-http"])
def test_one_without_what_modelhost_needs_is_refused(flag: str) -> None:
    with pytest.raises(
        MissingFlagError, match=rf"has no {flag}, without which modelhost cannot use it; use a newer one"
    ):
        started("old", without=flag)


def test_one_that_takes_its_key_on_the_command_line_alone_is_refused() -> None:
    with pytest.raises(MissingFlagError, match="takes no key from LLAMA_API_KEY"):
        started("new", without="--api-key")


def test_slots_without_a_limit_for_each_have_caches_of_their_own() -> None:
    chats, texts = started("new", without="--kv-unified-per-slot"), {"embedding_only": True, "pooling": "cls"}
    assert "--no-kv-unified " in words(chats)
    assert chats.lacks == ("--kv-unified-per-slot",)
    embeds = started("new", without="--kv-unified-per-slot", **texts)
    assert "--kv-unified --cache-type-k" in words(embeds)
    assert "--embeddings --pooling cls " in words(embeds)


def test_embeddings_beside_chats_are_left_to_those_that_make_them_right() -> None:
    small = {"vocab_size": 500}
    assert "embeddings" in tasks_of(dict(started("new", **small).config))
    assert "embeddings" not in tasks_of(dict(started("old", **small).config))
    assert "embeddings" in tasks_of(dict(started("old", slots=1, **small).config))


def test_attention_of_old_ones_is_a_switch() -> None:
    assert "--flash-attn --" in words(started("old", options={"flash_attention": "on"}))
    assert "--flash-attn" not in words(started("old", options={"flash_attention": "off"}))
    assert "--flash-attn off " in words(started("new", options={"flash_attention": "off"}))


def test_layers_go_where_they_were_planned() -> None:
    assert "--n-gpu-layers 24 --tensor-split 16,8 " in words(
        started("new", gpus=(0, 1), gpu_layers=24, gpu_split=(16, 8))
    )
    assert "--n-gpu-layers 0 --no-op-offload " in words(started("new", gpu_layers=0))
    assert "offload" not in words(started("old", gpu_layers=0))


def test_a_file_that_is_read_instead_of_mapped() -> None:
    assert "--load-mode none " in words(started("new", options={"mmap": False}))
    assert "--no-mmap " in words(started("old", options={"mmap": False}))


def test_adapters_are_one_row_or_a_flag_each() -> None:
    lora = (Adapter(path=Path("/a,b.gguf")), Adapter(path=Path("/c.gguf"), scale=0.5))
    assert '--lora-scaled "/a,b.gguf:1.0",/c.gguf:0.5 ' in words(started("new", lora=lora))
    assert "--lora-scaled /a,b.gguf 1.0 --lora-scaled /c.gguf 0.5 " in words(started("old", lora=lora))
    chosen = started("new", lora=(Adapter(path=Path("/p.gguf"), name="pirate"),))
    assert "--lora-scaled /p.gguf:0.0 " in words(chosen)
    assert "--cache-ram 0 " in words(chosen)
    with pytest.raises(MissingFlagError, match=r"lora: this llama-server .* takes no file with a colon in its path"):
        started("new", lora=(Adapter(path=Path("/a:b.gguf")),))


def test_a_draft_model_and_what_else_guesses() -> None:
    draft = {"draft_path": Path("/d.gguf")}
    new = words(started("new", options={"speculation": "ngram-mod"}, **draft))
    assert "--spec-draft-model /d.gguf --spec-draft-threads 2 --spec-type draft-simple,ngram-mod " in new
    assert "--model-draft /d.gguf --threads-draft 2 " in words(started("old", **draft))


def test_other_models_and_settings(tmp_path: Path) -> None:
    assert "--reranking " in words(started("new", pooling="rank"))
    assert "--n-gpu-layers 0 " in words(started("new", gpu_layers=0))
    rows = started("new", gpus=(0, 1), options={"tensor_parallel_size": 2})
    assert "--split-mode row " in words(rows)
    images = started("new", mmproj_path=Path("/e.gguf"), gpu_layers=0)
    assert "--mmproj /e.gguf --no-mmproj-offload " in words(images)
    assert "--chat-template-file /t.jinja " in words(started("new", template="/t.jinja"))
    assert "--cache-type-k q8_0 --cache-type-v q8_0 " in words(started("old", kv_cache_type="q8_0"))
    assert "--slot-save-path" not in words(started("new", folder=None))
    mine = str(tmp_path)
    assert f"--slot-save-path {mine}/ " in words(started("new", options={"slot_save_path": mine}))
