"""The worker process of one model in MLX (https://github.com/ml-explore/mlx-lm).

Started as ``python -m modelhost.engines.mlx.worker`` (:mod:`modelhost.engines.launch`). It is not
``mlx_lm.server``, since that ignores ``min_tokens_to_keep``, ``response_format``, ``tool_choice`` and the length of
the context.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, cast

from modelhost.engines.worker.process import read_config, watch_lifeline

WHY_BLIND: Final = (
    "This engine takes text only: serve a model that was made for images on another one, such as a GGUF file, with its "
    "mmproj*.gguf beside it, on llamacpp."
)
STEPS_BETWEEN_CLEANINGS = 512
"""MLX keeps the memory of freed arrays; ``mlx_lm`` releases it as often."""


def main() -> None:
    """Load the model, announce the address, serve."""
    config = read_config()
    watch_lifeline()
    # The tokenizers come with transformers, which would load PyTorch, if that is installed, for nothing.
    sys.modules["torch"] = cast("Any", None)
    from modelhost.engines.worker import serving  # noqa: PLC0415 (the lifeline is watched already)

    serving.run(config, load)


def load(config: Mapping[str, Any]) -> Any:
    """Return the model of ``config`` as :class:`~modelhost.engines.worker.library.Loaded`."""
    import mlx.core as mx  # noqa: PLC0415
    from mlx_lm.utils import load as load_model  # noqa: PLC0415

    from modelhost.engines.worker.library import Loaded, vocab_size  # noqa: PLC0415
    from modelhost.engines.worker.model_files import end_tokens, generation_config  # noqa: PLC0415

    directory = Path(config["path"])
    model, tokenizer = load_model(str(directory), adapter_path=config["adapter_path"])
    if dtype := _dtype(config["dtype"], is_cpu=mx.default_device() == mx.Device(mx.cpu)):
        model.set_dtype(getattr(mx, dtype))  # of packed weights only the scales
    library = MlxLibrary(model)
    return Loaded(
        library=library,
        tokenizer=tokenizer._tokenizer,
        vocab_size=vocab_size(library),
        version=f"mlx-lm {version('mlx-lm')}, mlx {version('mlx')}",
        eos_ids=end_tokens(tokenizer.eos_token_ids, directory),
        defaults=generation_config(directory),
        why_blind=WHY_BLIND,
    )


def _dtype(wanted: str, *, is_cpu: bool) -> str | None:
    """Return the number format to compute in; ``None``: that of the files."""
    if wanted == "auto":
        return "float32" if is_cpu else None  # in 16 bits a CPU takes half as long again
    return wanted


class MlxLibrary:
    """The :class:`~modelhost.engines.worker.library.Library` of MLX; a cache is a list, one for each layer."""

    def __init__(self, model: Any) -> None:
        import mlx.core as mx  # noqa: PLC0415
        from mlx_lm.models import cache  # noqa: PLC0415
        from mlx_lm.utils import maybe_set_recommended_wired_limit  # noqa: PLC0415

        self._mx: Any = mx
        self._caches, self.model = cache, model
        maybe_set_recommended_wired_limit()  # on Apple's GPUs, weights must not be swapped out

    def new_cache(self) -> Any:
        return self._caches.make_prompt_cache(self.model)

    def prefill(self, cache: Any, tokens: Sequence[int]) -> Any:
        if len(tokens) > 1:
            # Evaluating only the caches avoids computing the scores of all these tokens, which are not needed.
            self.model(self._mx.array([tokens[:-1]]), cache=cache)
            self._mx.eval([layer.state for layer in cache])
        scores = self.scores([tokens[-1:]], cache)[0]
        self._mx.clear_cache()
        return scores

    def prefill_scored(self, cache: Any, tokens: Sequence[int]) -> Any:
        scores = self._scores([tokens], cache, kept=len(tokens))[0]
        self._mx.clear_cache()
        return scores

    def scores(self, tokens: Sequence[Sequence[int]], cache: Any) -> Any:
        """Append ``tokens``, rows of equal length, and return the scores after the last of each row."""
        return self._scores(tokens, cache, kept=1)[:, -1, :]

    def _scores(self, tokens: Sequence[Sequence[int]], cache: Any, *, kept: int) -> Any:
        import numpy as np  # noqa: PLC0415

        logits = self.model(self._mx.array(tokens), cache=cache)[:, -kept:, :].astype(self._mx.float32)
        # The caches, too: what is not evaluated now would be kept as a growing graph.
        self._mx.eval(logits, [layer.state for layer in cache])
        return np.array(logits)

    def fork(self, cache: Any, length: int) -> Any:
        if not self._caches.can_trim_prompt_cache(cache):
            return None
        fork = copy.deepcopy(cache)
        self._caches.trim_prompt_cache(fork, fork[0].size() - length)
        return fork

    def size_bytes(self, cache: Any) -> int:
        return sum(layer.nbytes for layer in cache)

    def new_batch(self) -> MlxBatch:
        return MlxBatch(self)

    def clear_memory(self) -> None:
        """Release the memory of freed arrays."""
        self._mx.clear_cache()


class MlxBatch:
    """The :class:`~modelhost.engines.worker.library.Batch` of MLX, left-padded by ``mlx_lm``'s caches."""

    def __init__(self, library: MlxLibrary) -> None:
        self._library = library
        self._layers: list[Any] = []
        self._count = self._steps = 0

    def add(self, caches: Sequence[Any]) -> None:
        new = [type(layer[0]).merge(list(layer)) for layer in zip(*caches, strict=True)]
        if self._count:
            for layer, other in zip(self._layers, new, strict=True):
                layer.extend(other)
        else:
            self._layers = new
        self._count += len(caches)

    def remove(self, rows: Sequence[int]) -> list[Any]:
        caches = [[layer.extract(row) for layer in self._layers] for row in rows]
        kept = [row for row in range(self._count) if row not in set(rows)]
        if kept:
            for layer in self._layers:
                layer.filter(kept)
        else:
            self._layers = []
        self._count = len(kept)
        return caches

    def step(self, tokens: Sequence[int]) -> Any:
        self._steps += 1
        if self._steps % STEPS_BETWEEN_CLEANINGS == 0:
            self._library.clear_memory()
        return self._library.scores([[token] for token in tokens], self._layers)


if __name__ == "__main__":
    main()
