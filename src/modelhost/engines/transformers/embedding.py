"""The worker process of one model for sentence embeddings, in the layout of sentence-transformers.

Started as ``python -m modelhost.engines.transformers.embedding`` (:mod:`modelhost.engines.launch`). ``modules.json``
lists what is done one after the other: the model, pooling, dense layers, normalisation
(https://sbert.net/docs/sentence_transformer/usage/custom_models.html).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from modelhost.engines.media.jobs import Emit, Job
from modelhost.engines.media.starting import LoadedMedia, run
from modelhost.engines.transformers.checkpoints import loaded
from modelhost.engines.worker.asgi import ErrorResponse, error_body, invalid, read_json
from modelhost.engines.worker.process import read_config, watch_lifeline

PATH: Final = "/v1/embeddings"
JSON: Final = "application/json"
BATCH: Final = 16
"""Texts that are computed together; between two batches, a client that has left is noticed."""
Step = Callable[[Any], Any]
"""Makes vectors of vectors, a row for each text."""
POOLINGS: Final = ("cls", "mean", "max", "mean_sqrt_len", "weightedmean", "lasttoken")
"""In the order in which their vectors are joined, if there are several."""
OLD_NAMES: Final = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "max": "pooling_mode_max_tokens",
    "mean_sqrt_len": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
UNUSED: Final = ("pooler",)
"""What many files leave out, as the vectors of all tokens are used."""
ACTIVATIONS: Final = ("Identity", "Tanh", "ReLU", "GELU", "Sigmoid", "SiLU")


def load(config: Mapping[str, Any]) -> LoadedMedia:
    """Return the model of ``config``; raises what the library raises.

    Raises:
        ValueError: its files ask for something that this worker does not do.
    """
    import torch  # noqa: PLC0415 (slow; the lifeline is watched already)
    from transformers import AutoModel, AutoTokenizer, __version__  # noqa: PLC0415
    from transformers.utils import logging  # noqa: PLC0415

    logging.disable_progress_bar()
    torch.set_num_threads(config["threads"])
    folder = Path(config["path"])
    first, *others = read_modules(folder)
    if first[0] != "Transformer":
        raise ValueError(f"modules.json begins with {first[0]}; this engine computes those that begin with Transformer")
    trusts = {"local_files_only": True, "trust_remote_code": config["trust_remote_code"]}
    model = loaded(AutoModel, config, folder / first[1], unused=UNUSED)
    tokenizer = AutoTokenizer.from_pretrained(folder / first[1], **trusts)
    limit = most_tokens(folder, config["context_length"])
    embedder = Embedder(model, tokenizer, limit=limit, prompt=default_prompt(folder))
    for kind, place in others:
        embedder.add(kind, _json(folder / place / "config.json"), folder / place)
    embedder.check()
    return LoadedMedia(
        tasks={"embeddings": (PATH, lambda raw: embedder.prepare(read_json(raw), config["name"]))},
        version=f"transformers {__version__}, torch {torch.__version__}",
    )


def read_modules(folder: Path) -> list[tuple[str, str]]:
    """Return what ``modules.json`` lists: the kind of each module, and its folder."""
    listed = json.loads((folder / "modules.json").read_bytes())
    return [(each["type"].rpartition(".")[2], each["path"]) for each in listed]


def default_prompt(folder: Path) -> str:
    """Return the text that goes before each text, as the files have it; empty without one."""
    given = _json(folder / "config_sentence_transformers.json")
    return str((given.get("prompts") or {}).get(given.get("default_prompt_name")) or "")


def most_tokens(folder: Path, context_length: int) -> int:
    """Return how many tokens a text may have: fewer than the model could hold, if the files say so."""
    given = _json(folder / "sentence_bert_config.json").get("max_seq_length")
    return min(given, context_length) if isinstance(given, int) and given > 0 else context_length


def poolings_in(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the kinds of pooling that a module's configuration asks for.

    Raises:
        ValueError: one of them is unknown, or there is none.
    """
    named = config.get("pooling_mode")
    chosen = [named] if isinstance(named, str) else named or [kind for kind in POOLINGS if config.get(OLD_NAMES[kind])]
    if not chosen or not set(chosen) <= set(POOLINGS):
        raise ValueError(f"pooling: {chosen or 'none'}; this engine knows {', '.join(POOLINGS)}")
    return tuple(chosen)


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_bytes()) if path.is_file() else {}


class Embedder:
    """Computes vectors with one model."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        limit: int,
        prompt: str = "",
    ) -> None:
        """``limit``: the tokens that a text may have. ``prompt`` goes before each text."""
        import torch  # noqa: PLC0415

        self._torch, self._model, self._tokenizer = torch, model, tokenizer
        self._limit, self._prompt = limit, prompt
        self._poolings: tuple[str, ...] = ()
        self._steps: list[Step] = []

    def add(self, kind: str, config: Mapping[str, Any], folder: Path) -> None:
        """Add a module.

        Raises:
            ValueError: it is of a kind that is unknown here.
        """
        if kind == "Pooling" and not self._poolings:
            if self._prompt and config.get("include_prompt") is False:
                raise ValueError("pooling without the prompt (include_prompt) is not supported")
            self._poolings = poolings_in(config)
        elif kind == "Normalize" and self._poolings:
            self._steps.append(lambda vectors: self._torch.nn.functional.normalize(vectors, dim=1))
        elif kind == "Dense" and self._poolings:
            self._steps.append(self._dense(config, folder))
        else:
            raise ValueError(f"modules.json: {kind} is not supported here; Pooling, Dense and Normalize are")

    def check(self) -> None:
        """Raise a ValueError if no module pools the states of a text's tokens."""
        if not self._poolings:
            raise ValueError("modules.json lists no Pooling, without which there is no vector of a text")

    def _dense(self, config: Mapping[str, Any], folder: Path) -> Step:
        from safetensors.torch import load_file  # noqa: PLC0415

        name = str(config.get("activation_function", "Tanh")).rpartition(".")[2]
        if name not in ACTIVATIONS:
            raise ValueError(f"dense layer: the activation {name} is not supported; {', '.join(ACTIVATIONS)} are")
        layer = self._torch.nn.Linear(config["in_features"], config["out_features"], bias=config.get("bias", True))
        weights = load_file(folder / "model.safetensors")
        layer.load_state_dict({key.removeprefix("linear."): value for key, value in weights.items()})
        whole = self._torch.nn.Sequential(layer, getattr(self._torch.nn, name)())
        made: Step = whole.to(self._model.device).float()
        return made

    def prepare(self, body: Mapping[str, Any], name: str) -> tuple[Job, str]:
        """Return the job for ``body``, and the media type of its answer.

        Raises:
            ErrorResponse: a text is empty or too long.
        """
        rows = [self._tokens(text) for text in _texts_in(body["input"])]
        if (longest := max(map(len, rows))) > self._limit:
            message = f"request ({longest} tokens) exceeds the available context size ({self._limit} tokens)"
            details = {"n_prompt_tokens": longest, "n_ctx": self._limit}
            raise ErrorResponse(400, error_body(400, "exceed_context_size_error", message, **details))
        if not all(rows):
            raise invalid("input: a text is empty, and there is no vector of nothing.", param="input")

        def job(emit: Emit) -> None:
            data: list[dict[str, Any]] = []
            for start in range(0, len(rows), BATCH):
                if not emit(b""):
                    return
                with self._torch.inference_mode():
                    vectors = self._vectors(rows[start : start + BATCH])
                for vector in vectors:
                    embedding = _written(vector, is_base64=body.get("encoding_format") == "base64")
                    data.append({"object": "embedding", "index": len(data), "embedding": embedding})
            count = sum(map(len, rows))
            usage = {"prompt_tokens": count, "total_tokens": count}
            emit(orjson.dumps({"object": "list", "data": data, "model": name, "usage": usage}))

        return job, JSON

    def _tokens(self, text: str | Sequence[int]) -> list[int]:
        if not isinstance(text, str):
            return list(text)
        if not text:
            return []
        ids: list[int] = self._tokenizer(f"{self._prompt}{text}").input_ids
        return ids

    def _vectors(self, rows: Sequence[Sequence[int]]) -> Any:
        """Return a row of numbers for each text."""
        torch, width = self._torch, max(map(len, rows))
        padding = self._tokenizer.pad_token_id or 0
        ids = torch.tensor([[*row, *[padding] * (width - len(row))] for row in rows], device=self._model.device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=self._model.device)
        states = self._model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        vectors = torch.cat([self._pooled(kind, states, mask) for kind in self._poolings], dim=1)
        for step in self._steps:
            vectors = step(vectors)
        return vectors.cpu().numpy().astype("<f4")

    def _pooled(self, kind: str, states: Any, mask: Any) -> Any:
        """Return a vector for each text, of the states of its tokens; padding is on their right."""
        torch, there = self._torch, mask.unsqueeze(-1).float()
        if kind == "cls":
            return states[:, 0]
        if kind == "lasttoken":
            return states[torch.arange(states.shape[0]), mask.sum(1) - 1]
        if kind == "max":
            return states.masked_fill(there == 0, -torch.inf).max(1).values
        if kind == "weightedmean":
            there = there * torch.arange(1, states.shape[1] + 1, device=states.device)[None, :, None]
        count = there.sum(1)
        return (states * there).sum(1) / (count.sqrt() if kind == "mean_sqrt_len" else count)


def _texts_in(given: Any) -> list[Any]:
    """Return the texts of an ``input``: each a text or its tokens."""
    is_one = isinstance(given, str) or (given and isinstance(given[0], int))
    return [given] if is_one else list(given)


def _written(vector: Any, *, is_base64: bool) -> Any:
    return base64.b64encode(vector.tobytes()).decode() if is_base64 else vector.tolist()


if __name__ == "__main__":
    given = read_config()
    watch_lifeline()
    run(given, load)
