"""lm-evaluation-harness: its ``local-completions`` scores texts, one at a time and in batches, and has others written.

Run as ``python -P lm_eval.py BASE_URL MODEL`` with the Python that has the client.
"""

from __future__ import annotations

import json
import math
import os
import sys
import unittest
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}

import lm_eval
from lm_eval.api.instance import Instance
from lm_eval.models.openai_completions import LocalCompletionsAPI

URL, MODEL = sys.argv[1:]
TOKENIZER = Path(__file__).parents[2] / "assets" / "nano-hf"
ASKED = ("Hello!", "Hi there", "What is the weather in Paris?")
SHARED: Any = {"model": MODEL, "base_url": f"{URL}/completions", "tokenizer": str(TOKENIZER), "max_length": 512}
CHOOSING: Any = {
    "task": "choosing",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "questions.json"}},
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "<|im_start|>user\n{{asked}}<|im_end|>\n<|im_start|>assistant\n",
    "doc_to_choice": "{{answers}}",
    "doc_to_target": "{{right}}",
    "target_delimiter": "",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
}


def model(**parameters: Any) -> LocalCompletionsAPI:
    """Return the harness' way to the host."""
    return LocalCompletionsAPI(**SHARED, **{"tokenized_requests": True, "batch_size": 1, **parameters})


def instances(kind: Any, *arguments: Any) -> list[Instance]:
    return [Instance(request_type=kind, doc={}, arguments=each, idx=place) for place, each in enumerate(arguments)]


class Scores(unittest.TestCase):
    """What the harness makes of prompts that come back with their log probabilities."""

    def likelihoods(self, **parameters: Any) -> list[tuple[float, bool]]:
        pairs = [(asked, ending) for asked in ASKED for ending in (" How are you?", "\u00e9\u65e5!", "<|im_end|>")]
        found: list[tuple[float, bool]] = model(**parameters).loglikelihood(instances("loglikelihood", *pairs))
        assert len(found) == len(pairs)
        assert all(math.isfinite(score) and score < 0 for score, _ in found)
        return found

    def test_the_same_whatever_way_it_asks(self) -> None:
        alone = self.likelihoods()
        ways: Any = {
            "batches": {"batch_size": 4},
            "at once": {"num_concurrent": 4},
            "texts": {"tokenized_requests": False},
        }
        for name, parameters in ways.items():
            with self.subTest(name):
                for (score, is_greedy), (other, is_other_greedy) in zip(
                    alone, self.likelihoods(**parameters), strict=True
                ):
                    assert math.isclose(score, other, abs_tol=0.05)
                    assert is_greedy == is_other_greedy

    def test_a_greedy_answer_is_known_as_one(self) -> None:
        # It may not end with a blank, which the harness would count to the answer.
        prompt = "<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\nHello"
        asked = instances("generate_until", (prompt, {"until": ["<|im_end|>"], "max_gen_toks": 12}))
        (answer,) = model().generate_until(asked)
        ((score, is_greedy),) = model().loglikelihood(instances("loglikelihood", (prompt, answer)))
        assert answer
        assert is_greedy
        assert score > -5

    def test_whole_texts(self) -> None:
        likely, unlikely = model().loglikelihood_rolling(
            instances("loglikelihood_rolling", ("What is the weather in Paris?",), ("siraP ni rehtaew eht si tahW",))
        )
        assert likely > unlikely


class Tasks(unittest.TestCase):
    """A task of one's own, from a file."""

    def test_the_right_answer_is_the_likeliest(self) -> None:
        prompt = CHOOSING["doc_to_text"].replace("{{asked}}", "Hello!")
        asked = instances("generate_until", (prompt, {"until": ["<|im_end|>"], "max_gen_toks": 12}))
        (answer,) = model().generate_until(asked)
        questions = [{"asked": "Hello!", "answers": ["zxqj vvk wq", answer, "7 7 7"], "right": 1}]
        Path("questions.json").write_text(json.dumps(questions), encoding="utf-8")
        done = lm_eval.simple_evaluate(model=model(batch_size=2), tasks=[CHOOSING], bootstrap_iters=0)
        assert done["results"]["choosing"]["acc,none"] == 1.0


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
