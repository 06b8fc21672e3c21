"""The training loop: a curriculum in stages, checkpoints to resume from, a log line every few steps."""

import json
import time
from collections import Counter, deque
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.nn import functional
from tqdm import tqdm

from training.batches import Batch, Stream, split
from training.lessons import STAGES
from training.model import Nano, Shape
from training.optimizer import Optimizer
from training.tokenizer import Encoder
from training.words import HELD_OUT, TRAINING


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides the weights, besides the code."""

    seed: int = 7
    tokens: int = 15_000_000
    batch_tokens: int = 4096
    matrix_rate: float = 0.015
    vector_rate: float = 0.003
    warm_up_steps: int = 40
    decay_from: float = 0.6
    # A stage ends when the mean loss of 20 batches is below the first number, or after as many steps as the second.
    stage_ends: tuple[tuple[float, int], ...] = (
        (0.25, 400),
        (0.2, 600),
        (0.1, 400),
        (0.0, 1800),
    )


@dataclass(slots=True)
class Progress:
    """Where training stands; saved with the weights."""

    step: int = 0
    tokens: int = 0
    stage: int = 0
    stage_step: int = 0
    chunk: int = 0
    seconds: float = 0.0


def level(recipe: Recipe, progress: Progress) -> float:
    """The share of the peak learning rate: warm-up, plateau, then linear to zero at the last token."""
    warm = min(1.0, (progress.step + 1) / recipe.warm_up_steps)
    done = progress.tokens / recipe.tokens
    return warm * min(1.0, max(0.0, (1 - done) / (1 - recipe.decay_from)))


def gradients(network: Nano, batch: Batch) -> tuple[float, tuple[torch.Tensor, ...]]:
    """Weighted sum of the replies' cross-entropy, and its gradients. Logits are for replies only, to save time."""
    hidden = network(batch.ids, batch.positions).flatten(0, 1)[batch.at]
    losses = functional.cross_entropy(network.logits(hidden), batch.targets, reduction="none")
    loss = losses @ batch.weights
    return loss.item(), torch.autograd.grad(loss, tuple(network.parameters()))


def accumulate(network: Nano, batch: Batch, workers: Executor) -> float:
    """Leaves the gradients of the mean loss in the network and returns that loss.

    Threads take small pieces from a queue: on a machine that also does other things, a core that is held up then delays
    one piece and not every matrix product. Pieces are added in order, so that the sum does not depend on the threads.
    """
    pieces = [piece for piece in split(batch, 1024) if len(piece.at)]
    total, count = 0.0, batch.weights.sum().item()
    for loss, grads in workers.map(lambda piece: gradients(network, piece), pieces):
        total += loss
        for parameter, grad in zip(network.parameters(), grads, strict=True):
            scaled = grad / count
            parameter.grad = scaled if parameter.grad is None else parameter.grad.add_(scaled)
    return total / count


@torch.no_grad()
def exact(network: Nano, encoder: Encoder, chunks: int = 1) -> dict[str, float]:
    """Share of held-out replies right to the last token (teacher forcing), by kind of reply."""
    right, seen = Counter(), Counter()
    call, end = encoder.ids("<tool_call>")[0], encoder.end
    stream = Stream(encoder=encoder, pools=HELD_OUT, tokens=2048, context=network.shape.context)
    for chunk in range(chunks):
        for batch in stream.chunk("all", chunk):
            guess = network.logits(network(batch.ids, batch.positions).flatten(0, 1)[batch.at]).argmax(-1)
            hit, calls = True, 0
            for target, is_right in zip(batch.targets.tolist(), (guess == batch.targets).tolist(), strict=True):
                hit, calls = hit and is_right, calls + (target == call)
                if target == end:
                    kind = ("text", "call", "two calls")[min(calls, 2)]
                    seen[kind] += 1
                    right[kind] += hit
                    hit, calls = True, 0
    return {kind: round(right[kind] / seen[kind], 3) for kind in sorted(seen)}


class Trainer:
    """Owns the network and its optimizer; `run` trains to the end of the recipe, from a checkpoint if there is one."""

    def __init__(self, encoder: Encoder, folder: Path, recipe: Recipe, shape: Shape, threads: int) -> None:
        torch.manual_seed(recipe.seed)
        torch.set_num_threads(1)
        self.workers = ThreadPoolExecutor(threads)
        self.stream = Stream(encoder=encoder, pools=TRAINING, tokens=recipe.batch_tokens, context=shape.context)
        self.encoder, self.recipe, self.shape = encoder, recipe, shape
        self.checkpoint, self.log = folder / "checkpoint.pt", folder / "train.jsonl"
        self.network = Nano(shape)
        self.optimizer = Optimizer(self.network, recipe.matrix_rate, recipe.vector_rate)
        self.progress = Progress()
        self.recent: deque[float] = deque(maxlen=20)
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint, weights_only=True)
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.progress = Progress(**state["progress"])

    def run(self) -> Nano:
        progress, recipe = self.progress, self.recipe
        with tqdm(total=recipe.tokens, initial=progress.tokens, unit="tok", unit_scale=True, smoothing=0.05) as bar:
            while progress.tokens < recipe.tokens:
                self._chunk(bar)
                self._advance_stage()
                if progress.chunk % 3 == 0:
                    self._save()
                if progress.chunk % 15 == 0:
                    self._note(exact=exact(self.network, self.encoder))
        self._save()
        return self.network

    def _chunk(self, bar: tqdm) -> None:
        """Trains on one chunk of the stream. Checkpoints fall between chunks, so that resuming repeats nothing."""
        progress, recipe = self.progress, self.recipe
        stage = STAGES[progress.stage]
        started = time.monotonic()
        for batch in self.stream.chunk(stage, progress.chunk):
            loss = accumulate(self.network, batch, self.workers)
            self.optimizer.step(level(recipe, progress), self.workers)
            self.recent.append(loss)
            progress.step += 1
            progress.stage_step += 1
            progress.tokens += batch.ids.numel()
            bar.update(batch.ids.numel())
            bar.set_postfix(stage=stage, loss=f"{loss:.3f}")
        progress.chunk += 1
        progress.seconds += time.monotonic() - started
        self._note(loss=round(sum(self.recent) / len(self.recent), 4))

    def _advance_stage(self) -> None:
        if self.progress.stage >= len(self.recipe.stage_ends):
            return
        enough, most = self.recipe.stage_ends[self.progress.stage]
        if sum(self.recent) / len(self.recent) < enough or self.progress.stage_step >= most:
            self.progress.stage += 1
            self.progress.stage_step = 0

    def _note(self, **values: object) -> None:
        with self.log.open("a") as log:
            log.write(json.dumps({**asdict(self.progress), **values}) + "\n")

    def _save(self) -> None:
        state = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "progress": asdict(self.progress),
        }
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.checkpoint)
