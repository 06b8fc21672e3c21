"""llama.cpp as ``llama-cpp-python`` brings it, for measuring: no server, only prompts and tokens in batches.

Run by the Python of ``.venv-native`` as ``llama_cpp_python_runner.py MODEL THREADS CLIENTS CONTEXT``. Each line of
standard input is a job, ``{"clients": ..., "prompt": ..., "tokens": ...}``, answered with ``{"seconds": ...}``.
"""

from __future__ import annotations

import ctypes
import json
import random
import sys
import time
from typing import Any

import llama_cpp as llama
import numpy as np

BATCH = 512
FIRST_TOKEN = 3  # those before it mark the ends of texts


class Runner:
    """A model with room for ``clients`` sequences of ``context`` tokens."""

    def __init__(self, path: str, threads: int, clients: int, context: int) -> None:
        llama.llama_log_set(_SILENT, ctypes.c_void_p(0))
        self._model = llama.llama_model_load_from_file(path.encode(), llama.llama_model_default_params())
        self._vocabulary = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self._model))
        params = llama.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch, params.n_seq_max = clients * context, BATCH, BATCH, clients
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = True
        self._context = llama.llama_init_from_model(self._model, params)
        self._batch = llama.llama_batch_init(BATCH, 0, 1)

    def do(self, *, clients: int, prompt: int, tokens: int) -> float:
        """Read a prompt for each client and write ``tokens`` tokens for each; return the seconds."""
        llama.llama_memory_clear(llama.llama_get_memory(self._context), True)
        prompts = [random.choices(range(FIRST_TOKEN, self._vocabulary), k=prompt) for _ in range(clients)]
        pieces = [(token, pos, seq) for seq, text in enumerate(prompts) for pos, token in enumerate(text)]
        begun = time.perf_counter()
        last = [0] * clients
        for start in range(0, len(pieces), BATCH):
            part = pieces[start : start + BATCH]
            for index in self._decode(part, wanted=prompt - 1):
                last[part[index][2]] = self._best(index)
        for position in range(prompt, prompt + tokens - 1):
            step = [(token, position, seq) for seq, token in enumerate(last)]
            last = [self._best(index) for index in self._decode(step, wanted=position)]
        return time.perf_counter() - begun

    def _decode(self, pieces: list[tuple[int, int, int]], *, wanted: int) -> list[int]:
        """Decode (token, position, sequence)s; return the places of those at the position that is ``wanted``."""
        self._batch.n_tokens = len(pieces)
        for index, (token, position, sequence) in enumerate(pieces):
            self._batch.token[index], self._batch.pos[index] = token, position
            self._batch.n_seq_id[index], self._batch.seq_id[index][0] = 1, sequence
            self._batch.logits[index] = position == wanted
        if status := llama.llama_decode(self._context, self._batch):
            raise RuntimeError(f"llama_decode returned {status}")
        return [index for index, piece in enumerate(pieces) if piece[1] == wanted]

    def _best(self, index: int) -> int:
        scores = llama.llama_get_logits_ith(self._context, index)
        return int(np.ctypeslib.as_array(scores, shape=(self._vocabulary,)).argmax())


@llama.llama_log_callback
def _SILENT(*_: Any) -> None:  # noqa: N802 (kept as long as the library may call it)
    return


def main() -> None:
    """Do the jobs of standard input."""
    path, *numbers = sys.argv[1:]
    runner = Runner(path, *map(int, numbers))
    for line in sys.stdin:
        sys.stdout.write(json.dumps({"seconds": runner.do(**json.loads(line))}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
