"""Files that settings name beside those of a model: adapters, draft models, templates."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from modelhost.config.paths import broken_link, expand_home
from modelhost.config.settings import Settings
from modelhost.engines import TRAITS
from modelhost.engines.adapters import DEFAULT_SCALE, Adapter, names_of, split_name
from modelhost.engines.launch import ModelSpec
from modelhost.engines.prompting import STOPS, bundled_template
from modelhost.errors import ConfigError, ModelFileMissing
from modelhost.models.files.gguf import read_header
from modelhost.models.files.media_encoder import WITHOUT, encoder_for
from modelhost.models.registry.places import is_template_text, names_bundled_template
from modelhost.models.resolve.locate import Located

PEFT_CONFIG: Final = "adapter_config.json"


def existing_file(setting: str, name: str) -> Path:
    """Return the path of a file that a setting names; raises ModelFileMissing."""
    path = expand_home(name)
    if not path.is_file():
        raise _missing(setting, name, path)
    return path


def adapters_of(entries: Sequence[str], engine: str) -> tuple[Adapter, ...]:
    """Return the adapters that the values of the setting ``lora`` name, for a model of ``engine``.

    Raises:
        ConfigError: an entry is not one, is not in the form that the engine reads, or has the name of another one.
        ModelFileMissing: naming the first that is not there.
    """
    names = names_of(entries)
    if twice := next((name for place, name in enumerate(names) if name in names[:place]), None):
        raise ConfigError(f'lora: there are two adapters called "{twice}"', param="lora")
    return tuple(_adapter(entry, engine) for entry in entries)


def files_of(adapters: Iterable[Adapter]) -> list[Path]:
    paths = [adapter.path for adapter in adapters]
    return [file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path]) if file.is_file()]


def _adapter(entry: str, engine: str) -> Adapter:
    name, text = split_name(entry)
    place, scale = _scaled(text, entry)
    path = expand_home(place)
    if not path.exists():
        raise _missing("lora", place, path)
    if TRAITS[engine].adapters == "gguf" and not path.is_file():
        raise ConfigError(
            f"lora: {place} is a directory, and llama.cpp reads adapters in GGUF: its convert_lora_to_gguf.py makes "
            "that file",
            param="lora",
        )
    if TRAITS[engine].adapters == "peft" and not (path / PEFT_CONFIG).is_file():
        raise ConfigError(
            f"lora: vllm reads adapters as PEFT saves them, and {place} is no directory with {PEFT_CONFIG} in it",
            param="lora",
        )
    return Adapter(path=path, scale=scale, name=name)


def _scaled(text: str, entry: str) -> tuple[str, float]:
    """Split ``FILE`` or ``FILE:SCALE``."""
    place, _, scale = text.rpartition(":")
    if not place or expand_home(text).exists():
        return text, DEFAULT_SCALE
    try:
        number = float(scale)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(f'lora: "{entry}" is neither FILE nor FILE:SCALE with a number', param="lora")
    return place, number


def _missing(setting: str, name: str, path: Path) -> ModelFileMissing:
    nowhere = broken_link(path)
    return ModelFileMissing(f"{setting}: there is no file {name}{f': {nowhere}' if nowhere else ''}", path=name)


def files_beside(spec: ModelSpec) -> list[Path]:
    return [*files_of(spec.lora), *filter(None, (spec.draft_path, spec.mmproj_path))]


def bytes_of(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def draft_of(model: str | None) -> Path | None:
    if model is None:
        return None
    path = existing_file("draft_model", model)
    read_header(path)
    return path


def encoder_of(located: Located, settings: Settings, *, has_vision_file: bool) -> Path | None:
    """Return the media encoder; where it is no file of its own, only one that is named, which the engine refuses."""
    named = None if settings.mmproj in (None, WITHOUT) else existing_file("mmproj", settings.mmproj)
    if not has_vision_file or located.header is None or located.path is None:
        return named
    return encoder_for(located.path, located.header, settings.mmproj)


def template_of(value: str | None) -> str | None:
    """Return the template's text: what has Jinja in it is the text itself, all else names a file, or one of ours."""
    if value is not None and names_bundled_template(value, expand_home(value)):
        return bundled_template(value)
    files = template_files(value)
    try:
        return files[0].read_text(encoding="utf-8-sig") if files else value
    except UnicodeDecodeError as error:
        raise ConfigError(f"chat_template: {value} is not UTF-8 text: {error}", param="chat_template") from None


def template_files(value: str | None) -> list[Path]:
    if value is None or is_template_text(value) or names_bundled_template(value, expand_home(value)):
        return []
    try:
        return [existing_file("chat_template", value)]
    except ModelFileMissing as error:
        close = difflib.get_close_matches(Path(value).name, STOPS, n=1)
        hint = f' (did you mean "{close[0]}"?)' if close else ""
        message = f"{error.message}{hint}; templates that come with modelhost: {', '.join(STOPS)}"
        raise ModelFileMissing(message, path=value, suggestions=close) from None
