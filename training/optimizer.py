"""The optimizer: Muon for the matrices inside the layers, Adam for the embedding and the norms."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from functools import partial

import torch
from torch import Tensor, nn

# Coefficients of the Polar Express iteration (Amsel et al. 2025, arXiv:2505.16932), one triple a step.
POLAR_EXPRESS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
)


def orthogonalize(g: Tensor) -> Tensor:
    """The nearest matrix with singular values of about one, for a stack `(n, rows, columns)`, rows <= columns."""
    x = g / (g.norm(dim=(-2, -1), keepdim=True) * 1.02 + 1e-6)
    for a, b, c in POLAR_EXPRESS:
        s = x @ x.mT
        x = a * x + (b * s + c * (s @ s)) @ x
    return x


class Muon:
    """Momentum, made orthogonal per matrix (Jordan et al. 2024). Equal shapes are handled as one stack, for speed."""

    def __init__(self, weights: Iterable[nn.Parameter], momentum: float = 0.95) -> None:
        self.momentum = momentum
        self.stacks: dict[tuple[int, ...], list[nn.Parameter]] = defaultdict(list)
        for weight in weights:
            self.stacks[tuple(weight.shape)].append(weight)
        self.buffers = {shape: torch.zeros(len(ws), *shape) for shape, ws in self.stacks.items()}

    def jobs(self, rate: float) -> list[Callable[[], None]]:
        """One update at learning rate `rate`, as independent pieces of work for several threads."""
        return [partial(self._update, shape, rate) for shape in self.stacks]

    @torch.no_grad()
    def _update(self, shape: tuple[int, ...], rate: float) -> None:
        weights = self.stacks[shape]
        grads = torch.stack([w.grad for w in weights])
        buffer = self.buffers[shape].lerp_(grads, 1 - self.momentum)
        update = grads.lerp_(buffer, self.momentum)
        tall = shape[0] > shape[1]
        update = orthogonalize(update.mT if tall else update)
        update = update.mT if tall else update
        scale = rate * max(1.0, shape[0] / shape[1]) ** 0.5
        for weight, delta in zip(weights, update, strict=True):
            weight.add_(delta, alpha=-scale)

    def state_dict(self) -> dict[tuple[int, ...], Tensor]:
        return self.buffers

    def load_state_dict(self, state: dict[tuple[int, ...], Tensor]) -> None:
        self.buffers = state


class Optimizer:
    """Both optimizers behind one `step`. `level` in 0..1 is the schedule's share of the peak learning rates."""

    def __init__(self, network: nn.Module, matrix_rate: float, vector_rate: float) -> None:
        named = list(network.named_parameters())
        matrices = [p for name, p in named if p.ndim == 2 and "embed" not in name]
        vectors = [p for name, p in named if p.ndim != 2 or "embed" in name]
        self.matrix_rate, self.vector_rate = matrix_rate, vector_rate
        self.muon = Muon(matrices)
        self.adam = torch.optim.Adam(vectors, lr=vector_rate, betas=(0.9, 0.98), eps=1e-10)
        self.network = network

    def step(self, level: float, workers: Executor) -> None:
        """One update from the gradients, which are gone afterwards."""
        running = [workers.submit(job) for job in self.muon.jobs(self.matrix_rate * level)]
        self.adam.param_groups[0]["lr"] = self.vector_rate * level
        self.adam.step()
        for job in running:
            job.result()
        self.network.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, object]:
        return {"muon": self.muon.state_dict(), "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict[str, dict]) -> None:
        self.muon.load_state_dict(state["muon"])
        self.adam.load_state_dict(state["adam"])
