"""Everything in one command: tokenizer, training, both exports, checks. `python -m training.make_nano`.

An interrupted run goes on from its last checkpoint when the command is given again.
"""

import argparse
import json
import os
import random
import sys
from dataclasses import asdict, replace
from pathlib import Path

from training import export_gguf, export_hf, tokenizer
from training.checks import parity
from training.lessons import lesson
from training.model import Shape
from training.render import render_dialogue
from training.serve import start
from training.train import Recipe, Trainer, exact
from training.words import TRAINING

ROOT = Path(__file__).parent.parent
GGUF = ROOT / "src" / "modelhost" / "assets" / "nano" / "modelhost-nano.gguf"
TWIN = ROOT / "tests" / "assets" / "nano-hf"


def make_tokenizer(path: Path) -> tokenizer.Encoder:
    """Learns the tokenizer from 12,000 dialogues, or loads the one that an earlier, interrupted run has left."""
    if not path.exists():
        rng = random.Random("nano-tokenizer")
        pools = replace(TRAINING, made_up=0.25)
        texts = [render_dialogue(lesson(rng, pools, "all")) for _ in range(12_000)]
        tokenizer.train(texts).save(str(path))
    return tokenizer.Encoder(tokenizer.load(path))


def report(trainer: Trainer, recipe: Recipe, gguf: Path) -> dict[str, object]:
    """What was trained, how long it took and whether the export agrees with it."""
    network = trainer.network.eval()
    server = start(str(gguf), port=0, slots=1, threads=1)
    losses = [json.loads(line) for line in trainer.log.read_text().splitlines()]
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "shape": asdict(trainer.shape),
        "recipe": asdict(recipe),
        "tokens": trainer.progress.tokens,
        "steps": trainer.progress.step,
        "training_minutes": round(trainer.progress.seconds / 60, 1),
        "final_training_loss": next(line["loss"] for line in reversed(losses) if "loss" in line),
        "held_out_exact_teacher_forced": exact(network, trainer.encoder, chunks=4),
        "parity_with_llama_cpp": asdict(parity(network, trainer.encoder, server.listening_address)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=ROOT / "training" / "runs", help="checkpoints and logs")
    parser.add_argument("--gguf", type=Path, default=GGUF)
    parser.add_argument("--twin", type=Path, default=TWIN)
    parser.add_argument("--report", type=Path, default=Path(__file__).parent / "report.json")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    options.gguf.parent.mkdir(parents=True, exist_ok=True)
    recipe = Recipe()
    encoder = make_tokenizer(options.work / "tokenizer.json")
    trainer = Trainer(
        encoder, options.work, recipe, Shape(vocab_size=encoder.tokenizer.get_vocab_size()), options.threads
    )
    network = trainer.run()
    export_gguf.export(network, encoder.tokenizer, options.gguf)
    export_hf.export(network, encoder.tokenizer, options.twin)
    written = report(trainer, recipe, options.gguf)
    options.report.write_text(json.dumps(written, indent=2) + "\n")
    print(json.dumps(written, indent=2))
    sys.stdout.flush()
    # llama.cpp's server has no clean way down; everything is on disk by now.
    os._exit(0)


if __name__ == "__main__":
    main()
