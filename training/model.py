"""The network: a Qwen3-layout decoder small enough to train on two CPU cores.

Module and parameter names follow Hugging Face's `Qwen3ForCausalLM`, so that the state dict is the safetensors file.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The sizes of the network. Six layers, because choosing a tool is a chain of look-ups of about that length."""

    vocab_size: int = 1024
    width: int = 192
    layers: int = 6
    heads: int = 8
    head_size: int = 32
    feed_forward: int = 384
    context: int = 2048
    rope_theta: float = 100_000.0
    norm_eps: float = 1e-6


class RMSNorm(nn.Module):
    """Root-mean-square norm over the last axis with a learned gain."""

    def __init__(self, size: int, eps: float, gain: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((size,), gain))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, self.weight.shape, self.weight, self.eps)


class Attention(nn.Module):
    """Causal attention with normalised queries and keys and half-split rotary positions."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        inner = shape.heads * shape.head_size
        self.heads, self.head_size = shape.heads, shape.head_size
        self.q_proj = nn.Linear(shape.width, inner, bias=False)
        self.k_proj = nn.Linear(shape.width, inner, bias=False)
        self.v_proj = nn.Linear(shape.width, inner, bias=False)
        self.o_proj = nn.Linear(inner, shape.width, bias=False)
        # Copying needs sharp attention from the start: a gain of 1.5 on each side lifts the largest logit to about 13.
        self.q_norm = RMSNorm(shape.head_size, shape.norm_eps, gain=1.5)
        self.k_norm = RMSNorm(shape.head_size, shape.norm_eps, gain=1.5)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, length, _ = x.shape
        split = (batch, length, self.heads, self.head_size)
        q = rotate(self.q_norm(self.q_proj(x).view(split)), cos, sin).transpose(1, 2)
        k = rotate(self.k_norm(self.k_proj(x).view(split)), cos, sin).transpose(1, 2)
        v = self.v_proj(x).view(split).transpose(1, 2)
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(batch, length, -1))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding on `(batch, length, heads, size)`; the halves of a head are the pairs."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


class FeedForward(nn.Module):
    """The gated feed-forward layer (SwiGLU)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.up_proj = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.down_proj = nn.Linear(shape.feed_forward, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """One pre-norm decoder layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(shape.width, shape.norm_eps)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = RMSNorm(shape.width, shape.norm_eps)
        self.mlp = FeedForward(shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    """Embedding, layers and final norm: token ids and positions `(batch, length)` to `(batch, length, width)`."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.width)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = RMSNorm(shape.width, shape.norm_eps)
        frequencies = shape.rope_theta ** (-torch.arange(0, shape.head_size, 2).float() / shape.head_size)
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, ids: Tensor, positions: Tensor) -> Tensor:
        angles = positions.float()[:, :, None, None] * self.frequencies
        cos, sin = angles.cos(), angles.sin()
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x, cos, sin)
        return self.norm(x)


class Nano(nn.Module):
    """The language model. The embedding is the output matrix too (tied)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.model = Decoder(shape)
        self._initialise()

    def _initialise(self) -> None:
        """Small random weights; matrices that write to the residual stream start at zero, so layers begin as no-ops."""
        nn.init.normal_(self.model.embed_tokens.weight, std=0.05)
        for name, weight in self.model.layers.named_parameters():
            if weight.ndim == 2:
                std = 0.0 if name.endswith(("o_proj.weight", "down_proj.weight")) else weight.shape[1] ** -0.5
                nn.init.normal_(weight, std=std)

    def forward(self, ids: Tensor, positions: Tensor) -> Tensor:
        """Hidden states after the final norm, `(batch, length, width)`."""
        return self.model(ids, positions)

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores over the vocabulary for hidden states of any leading shape."""
        return hidden @ self.model.embed_tokens.weight.T
