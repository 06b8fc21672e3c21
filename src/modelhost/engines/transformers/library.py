"""Models of ``transformers`` that write text, as the worker around them uses them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any


def cache_argument(model: Any) -> str:
    """Return the name under which ``model`` takes its cache.

    transformers 5.24 renamed ``past_key_values`` to ``cache`` and warns of the old name; older versions, and models
    with code of their own, know the old one only.
    """
    parameters = inspect.signature(model.forward).parameters
    return "cache" if "cache" in parameters and "past_key_values" not in parameters else "past_key_values"


class TransformersLibrary:
    """The :class:`~modelhost.engines.worker.library.Library` of transformers.

    A cache is a list with the keys and values of each layer, of the shape ``[1, heads, tokens, width]``.
    """

    def __init__(self, model: Any, device: str) -> None:
        import torch  # noqa: PLC0415

        self.torch, self.device = torch, device
        self._model = model
        self._cache_argument = cache_argument(model)

    def new_cache(self) -> Any:
        return []

    def prefill(self, cache: Any, tokens: Sequence[int]) -> Any:
        return self._appended(cache, tokens, kept=1)[-1]

    def prefill_scored(self, cache: Any, tokens: Sequence[int]) -> Any:
        return self._appended(cache, tokens, kept=len(tokens))

    def prefill_vectors(self, cache: Any, vectors: Any) -> Any:
        """Append tokens given by their ``vectors``, of the shape ``[1, tokens, width]``, as :meth:`prefill` does."""
        return self._appended_to(cache, {"inputs_embeds": vectors}, vectors.shape[1], kept=1)[-1]

    def vectors_of(self, tokens: Sequence[int]) -> Any:
        """Return the vectors of ``tokens``, as :meth:`prefill_vectors` takes them."""
        return self._model.get_input_embeddings()(self._ids([tokens]))

    def length_of(self, cache: Any) -> int:
        """Return the number of tokens in ``cache``."""
        length: int = cache[0][0].shape[-2] if cache else 0
        return length

    def _appended(self, cache: Any, tokens: Sequence[int], *, kept: int) -> Any:
        return self._appended_to(cache, {"input_ids": self._ids([tokens])}, len(tokens), kept=kept)

    def _appended_to(self, cache: Any, given: Mapping[str, Any], count: int, *, kept: int) -> Any:
        held, before = self.cache_of(cache), self.length_of(cache)
        positions = self.torch.arange(before, before + count, device=self.device)[None]
        scores = self._scores(given, held, positions, None, kept=kept)
        cache[:] = [(layer.keys, layer.values) for layer in held.layers]
        return scores[0]

    def scores(self, tokens: Sequence[Sequence[int]], held: Any, positions: Any, mask: Any) -> Any:
        """Append ``tokens``, rows of equal length, and return the scores after the last of each row."""
        return self._scores({"input_ids": self._ids(tokens)}, held, positions, mask, kept=1)[:, -1, :]

    def _ids(self, tokens: Sequence[Sequence[int]]) -> Any:
        return self.torch.tensor(tokens, device=self.device)

    def _scores(self, given: Mapping[str, Any], held: Any, positions: Any, mask: Any, *, kept: int) -> Any:
        output = self._model(
            **given,
            attention_mask=mask,
            position_ids=positions,
            use_cache=True,
            logits_to_keep=kept,
            **{self._cache_argument: held},
        )
        return output.logits[:, -kept:, :].float().cpu().numpy()

    def cache_of(self, layers: Sequence[tuple[Any, Any]]) -> Any:
        """Return ``layers`` as a cache of transformers.

        Sliding windows are left to the mask: a cache that drops tokens outside the window cannot be truncated.
        """
        from transformers.cache_utils import DynamicCache  # noqa: PLC0415

        held = DynamicCache()
        for number, (keys, values) in enumerate(layers):
            held.update(keys, values, number)
        return held

    def fork(self, cache: Any, length: int) -> Any:
        return [(keys[..., :length, :].clone(), values[..., :length, :].clone()) for keys, values in cache]

    def size_bytes(self, cache: Any) -> int:
        return sum(tensor.nbytes for layer in cache for tensor in layer)

    def new_batch(self) -> TransformersBatch:
        return TransformersBatch(self)


class TransformersBatch:
    """The :class:`~modelhost.engines.worker.library.Batch` of transformers.

    All conversations end in the same column; the shorter ones have padding on their left, which the mask hides.
    """

    def __init__(self, library: TransformersLibrary) -> None:
        self._library, self._torch = library, library.torch
        self._lengths: list[int] = []
        self._held: Any = None

    def add(self, caches: Sequence[Any]) -> None:
        layers = list(self._held.layers) if self._lengths else []
        olds = [(layer.keys, layer.values) for layer in layers]
        width = max([*self._lengths, *(cache[0][0].shape[-2] for cache in caches)])
        joined = []
        for number in range(len(caches[0])):
            parts = [*olds[number : number + 1], *(cache[number] for cache in caches)]
            joined.append(
                tuple(self._torch.cat([self._padded(part[kind], width) for part in parts]) for kind in (0, 1))
            )
        self._lengths += [cache[0][0].shape[-2] for cache in caches]
        self._held = self._library.cache_of(joined)

    def remove(self, rows: Sequence[int]) -> list[Any]:
        caches = [
            [tuple(self._row(tensor, row) for tensor in (layer.keys, layer.values)) for layer in self._held.layers]
            for row in rows
        ]
        kept = [row for row in range(len(self._lengths)) if row not in set(rows)]
        self._lengths = [self._lengths[row] for row in kept]
        if not kept:
            self._held = None
            return caches
        width, chosen = max(self._lengths), self._torch.tensor(kept, device=self._library.device)
        for layer in self._held.layers:
            layer.keys, layer.values = (
                tensor.index_select(0, chosen)[..., tensor.shape[-2] - width :, :]
                for tensor in (layer.keys, layer.values)
            )
        return caches

    def step(self, tokens: Sequence[int]) -> Any:
        torch, device = self._torch, self._library.device
        width = max(self._lengths) + 1
        lengths = torch.tensor(self._lengths, device=device)[:, None]
        columns = torch.arange(width, device=device)[None]
        mask = (columns >= width - 1 - lengths).long() if min(self._lengths) + 1 < width else None
        scores = self._library.scores([[token] for token in tokens], self._held, lengths, mask)
        self._lengths = [length + 1 for length in self._lengths]
        return scores

    def _padded(self, tensor: Any, width: int) -> Any:
        return self._torch.nn.functional.pad(tensor, (0, 0, width - tensor.shape[-2], 0))

    def _row(self, tensor: Any, row: int) -> Any:
        return tensor[row : row + 1, :, tensor.shape[-2] - self._lengths[row] :, :].clone()
