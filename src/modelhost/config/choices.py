"""Settings that are one of a few words."""

from __future__ import annotations

from typing import Literal

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "console", "json"]
SpecialTokens = Literal["text", "raw"]
SessionEviction = Literal["fifo", "lru"]
AllowedModels = Literal["registry", "hub", "any"]
MetricsAlias = Literal["vllm"]
KvCacheType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]
