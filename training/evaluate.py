"""Accuracy per skill through an OpenAI-compatible HTTP API, greedy: `python -m training.evaluate --url URL --n 200`.

Nothing but `/chat/completions` is used. A text must equal an expected one; calls must agree in order, in name and in
their JSON arguments.
"""

import argparse
import json
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from training.cases import SKILLS, Case, cases


def complete(url: str, key: str, model: str, case: Case) -> dict[str, object]:
    """The assistant message for the case. Raises `urllib.error.HTTPError` when the server refuses."""
    body: dict[str, object] = {"model": model, "messages": case.messages, "temperature": 0, "max_tokens": 300}
    if case.tools:
        body["tools"] = case.tools
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    query = urllib.request.Request(f"{url}/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(query, timeout=120) as answer:
        return json.load(answer)["choices"][0]["message"]


def is_right(case: Case, message: dict[str, object]) -> bool:
    """Whether the reply is one of the expected texts, or holds exactly the expected calls."""
    calls = message.get("tool_calls") or []
    if not case.calls:
        return not calls and (message.get("content") or "").strip() in case.texts
    try:
        made = [(c["function"]["name"], json.loads(c["function"]["arguments"])) for c in calls]
    except json.JSONDecodeError:
        return False
    # Compared as JSON text: in Python, true would equal 1.
    return json.dumps(made, sort_keys=True) == json.dumps(
        [(call.name, call.arguments) for call in case.calls], sort_keys=True
    )


def shown(case: Case, message: dict[str, object]) -> dict[str, object]:
    """A failure, short enough to read."""
    expected = [[call.name, call.arguments] for call in case.calls] or list(case.texts)
    got = [[c["function"]["name"], c["function"]["arguments"]] for c in message.get("tool_calls") or []]
    tools = [tool["function"]["name"] for tool in case.tools]
    asked = case.messages[-1]["content"]
    return {"user": asked, "tools": tools, "expected": expected, "got": got or message.get("content")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="base URL, such as http://127.0.0.1:8000/v1")
    parser.add_argument("--model", default="modelhost-nano")
    parser.add_argument("--key", default="none")
    parser.add_argument("--n", type=int, default=200, help="cases per skill")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "accuracy.json")
    parser.add_argument("--failures", type=Path, help="write every wrong reply here, one JSON object a line")
    options = parser.parse_args()
    table, failures = {}, []
    with ThreadPoolExecutor(options.clients) as clients:
        for skill in SKILLS:
            batch = cases(skill, options.n)
            replies = list(clients.map(lambda case: complete(options.url, options.key, options.model, case), batch))
            pairs = list(zip(batch, replies, strict=True))
            wrong = [{"skill": skill, **shown(case, reply)} for case, reply in pairs if not is_right(case, reply)]
            failures += wrong
            table[skill] = round(1 - len(wrong) / options.n, 4)
            print(f"| {skill} | {100 * table[skill]:.1f} % |", flush=True)
    options.out.write_text(json.dumps({"cases_per_skill": options.n, "accuracy": table}, indent=2) + "\n")
    if options.failures:
        options.failures.write_text("".join(json.dumps(f, ensure_ascii=False) + "\n" for f in failures))


if __name__ == "__main__":
    main()
