"""Writes docs/reference from the code: settings, endpoints, errors, metrics, commands.

python docs/generate.py            write the pages
python docs/generate.py --check    exit 1 if a page is not what would be written
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prometheus_client.metrics import MetricWrapperBase
from typer.main import get_command

from modelhost import errors
from modelhost.cli.main import app
from modelhost.config import reference
from modelhost.config.fields import SETTINGS
from modelhost.engines import ENGINES
from modelhost.errors import ModelhostError, SetupError, Unavailable
from modelhost.host import Host
from modelhost.http.app import build_app
from modelhost.http.edge import OPEN_PATHS
from modelhost.http.errors import STATUS
from modelhost.http.openapi import OPERATIONS, Described
from modelhost.meters import Meters

REFERENCE = Path(__file__).parent / "reference"
MARK = "<!-- Written by docs/generate.py from the code (make docs): change it there. -->\n\n"

# What a caller can do about an error; a new error without a line here fails the test of these pages.
ADVICE = {
    "invalid_request": "Mend the field that `param` names.",
    "invalid_json": "Send JSON; the message says where it breaks.",
    "unsupported_parameter": "Leave the field out, or take the one that the message proposes.",
    "unsupported_operation": "Ask a model that can do it; `/v1/models` lists what each can do.",
    "context_length_exceeded": "Shorten the conversation, or serve the model with a larger `--context-length`.",
    "model_not_found": "Take a name from `/v1/models`, or leave `model` out.",
    "not_found": "Look at `/docs` for the paths that there are.",
    "method_not_allowed": "Take the method that the message and the `Allow` header name.",
    "request_too_large": "Send less, or serve with a larger `--max-body-mb`.",
    "invalid_api_key": "Send `Authorization: Bearer KEY` with one of the host's keys.",
    "queue_full": "Try again after `Retry-After` seconds, or serve with a larger `--queue-size`.",
    "queue_timeout": "Try again, or serve with a larger `--request-timeout`.",
    "model_failed": "Read the reason in the message; the host tries again by itself.",
    "shutting_down": "Send the request to another host, or again when this one is back.",
    "worker_start_failed": "Read the worker's last lines in the message.",
    "worker_crashed": "Try again: the worker is being restarted. Its last lines are in `details.stderr`.",
    "engine_error": "Read the engine's own message.",
    "config_error": "Mend the setting; `modelhost config check` lists all that is wrong.",
    "model_file_missing": "Check the path; the message names files that are close.",
    "model_file_invalid": "Download or convert the file again; the message says what is wrong with it.",
    "engine_missing": "Serve the model as GGUF; the message says how.",
    "download_failed": "Check name, network, `HF_TOKEN` and disk, as the message says; what has arrived is kept.",
    "port_in_use": "Choose another `--port` (0 picks a free one) or `--host`.",
    "host_unreachable": "Start a host (`modelhost serve`), or check `--url`.",
    "system_library_missing": "Install the package that the message names.",
}


def settings_page() -> str:
    """Every setting with its flag, variable, default and meaning."""
    return reference.markdown()


def errors_page() -> str:
    """Every leaf of the error tree with its status and what to do."""
    meanings = dict(re.findall(r"── (\w+) {2,}(.+)", errors.__doc__ or ""))
    setup = [leaf for leaf in STATUS if issubclass(leaf, SetupError)]
    served = [leaf for leaf in STATUS if leaf not in setup]

    def rows(leaves: Iterable[type[ModelhostError]]) -> Iterator[Sequence[str]]:
        for leaf in leaves:
            meaning = _sentence(meanings[leaf.__name__])
            yield f"`{leaf.code}`", str(STATUS[leaf]), f"`{leaf.__name__}`", meaning, ADVICE[leaf.code]

    header = ("Code", "Status", "Class", "Meaning", "What to do")
    retried = ", ".join(f"`{leaf.code}`" for leaf in served if issubclass(leaf, Unavailable))
    return f"""# Errors

Over HTTP an error is OpenAI's error object, with two fields more: `source` says who refused (the host, or the worker of
a model), `details` holds values to work with.

```json
{json.dumps(EXAMPLE_ERROR, indent=2)}
```

In a stream that has begun, the object comes as the last event, without `[DONE]` after it. In Python the classes are in
`modelhost.errors`; each is a `modelhost.ModelhostError` with `code`, `message`, `param`, `details` and `source`.
{retried} come with a `Retry-After` header.

## Requests

{_table(header, rows(served))}
## Setting up

Commands print the message and exit with status 1.

{_table(header, rows(setup))}"""


EXAMPLE_ERROR = {
    "error": {
        "message": 'There is no model "gpt-5" here. There is: modelhost-nano.',
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
        "source": {"kind": "host"},
        "details": {"model": "gpt-5"},
    }
}


def metrics_page() -> str:
    """Every metric of ``/metrics``."""
    metrics = [metric for metric in vars(Meters).values() if isinstance(metric, MetricWrapperBase)]
    rows = [_metric_row(metric) for metric in metrics]
    return f"""# Metrics

`GET /metrics` answers in Prometheus' text format. A histogram `x` is read as `x_bucket`, `x_sum` and `x_count`. The
label `model` is the main name of a model that is served; it is empty where a request named none that exists.

{_table(("Name", "Type", "Labels", "Meaning"), rows)}"""


def _metric_row(metric: MetricWrapperBase) -> Sequence[str]:
    (family,) = metric.describe()
    name = family.name + ("_total" if family.type == "counter" else "")
    labels = ", ".join(f"`{label}`" for label in metric._labelnames)
    return f"`{name}`", family.type, labels, family.documentation


# What the document does not describe: the two ways to read it.
UNDESCRIBED = (
    ("get", "/docs", "The endpoints as a page to try them out"),
    ("get", "/openapi.json", "The endpoints as a document for programs"),
)


def endpoints_page() -> str:
    """Every endpoint, and every field that a request may hold."""
    document = asyncio.run(_openapi())
    schemas = document["components"]["schemas"]
    routes = [
        (method, path, described["summary"])
        for path, methods in document["paths"].items()
        for method, described in methods.items()
    ]
    rows = [
        (f"`{method.upper()}`", f"`{path}`", summary, "no" if path in OPEN_PATHS else "yes")
        for method, path, summary in [*routes, *UNDESCRIBED]
    ]
    sections = (_request_section(operation, document, schemas) for operation in OPERATIONS)
    return f"""# Endpoints

"Key" says whether a host that was started with `--api-key` asks for one.

{_table(("Method", "Path", "What it does", "Key"), rows)}
{"".join(sections)}"""


def _request_section(operation: Described, document: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    path, *others = operation.paths
    described = document["paths"][path]["post"]
    schema = schemas[described["requestBody"]["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[-1]]
    required = schema.get("required", [])
    fields = [
        (f"`{name}`", _type(field), "yes" if name in required else "") for name, field in schema["properties"].items()
    ]
    of_engine = sorted(ENGINES["llamacpp"].fields(operation.name) - schema["properties"].keys())
    statuses = [(status, f"{answer['description']}.") for status, answer in described["responses"].items()]
    parts = [
        f"\n## {described['summary']}: `POST {path}`\n",
        f"The same at {', '.join(f'`{other}`' for other in others)}.\n" if others else None,
        _table(("Field", "Type", "Required"), fields),
        f"llama.cpp takes besides: {', '.join(f'`{name}`' for name in of_engine)}.\n" if of_engine else None,
        _table(("Status", "Meaning"), statuses),
    ]
    return "\n".join(part for part in parts if part is not None)


def _type(schema: Mapping[str, Any]) -> str:
    """A field's JSON type in words."""
    options = [option for option in schema.get("anyOf", [schema]) if option.get("type") != "null"]
    return " or ".join(dict.fromkeys(_one_type(option) for option in options))


def _one_type(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        names = {option.get("type") for option in schema["anyOf"]}
        word = "number" if names == {"integer", "number"} else _type(schema)
    elif "$ref" in schema:
        word = f"object ({schema['$ref'].rsplit('/', 1)[-1]})"
    elif "enum" in schema or "const" in schema:
        return " or ".join(f"`{json.dumps(value)}`" for value in schema.get("enum", [schema.get("const")]))
    elif schema.get("type") == "array":
        word = f"list of {_type(schema['items'])}"
    else:
        word = str(schema.get("type", "anything"))
    return word + _range(schema)


def _range(schema: Mapping[str, Any]) -> str:
    low = schema.get("minimum", schema.get("ge"))
    high = schema.get("maximum", schema.get("le"))
    if low is None and high is None:
        return ""
    if high is None:
        return f", {low} or more"
    return f", at most {high}" if low is None else f", {low} to {high}"


async def _openapi() -> dict[str, Any]:
    """The document, asked of the application as a client would."""
    parts: list[bytes] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        parts.append(message.get("body", b""))

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/openapi.json",
        "root_path": "",
        "query_string": b"",
        "headers": [],
    }
    await build_app(Host())(scope, receive, send)
    document: dict[str, Any] = json.loads(b"".join(parts))
    return document


def cli_page() -> str:
    """Every command with its arguments and options; those made from settings by name only."""
    root: Any = get_command(app)
    sections = [_command_section(("modelhost", *names), command) for names, command in _commands(root)]
    return f"""# Commands

`modelhost --help` lists the commands, `modelhost COMMAND --help` the options of one. Results go to standard output,
errors and notes to standard error. The exit status is 0 when all went well, 1 after an error, 2 when the command line
itself was wrong, 130 after Ctrl-C.

{_table(("Option", "Meaning"), (_option_row(option) for option in root.params))}
{"".join(sections)}"""


def _commands(group: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from (((name, *inner), found) for inner, found in _commands(command))
        else:
            yield (name,), command


def _command_section(names: Sequence[str], command: Any) -> str:
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    options = [parameter for parameter in command.params if parameter not in arguments]
    settings = [option for option in options if option.name in SETTINGS and option.name != "model"]
    rows = [
        *((f"`{argument.metavar}`", argument.help) for argument in arguments),
        *(_option_row(option) for option in options if option not in settings),
    ]
    usage = " ".join([*names, *(f"[{argument.metavar}]" for argument in arguments), "[OPTIONS]"])
    flags = ", ".join(f"`{flag}`" for option in settings for flag in option.opts)
    examples = re.findall(r"^ {2}(\S.*)$", command.epilog or "", flags=re.MULTILINE)
    parts = [
        f"\n## `{' '.join(names)}`\n",
        f"{_paragraphs(command.help)}\n",
        f"```text\n{usage}\n```\n",
        _table(("Argument or option", "Meaning"), rows) if rows else None,
        f"And an option for each [setting](settings.md): {flags}.\n" if flags else None,
        "```text\n" + "\n".join(examples) + "\n```\n" if examples else None,
    ]
    return "\n".join(part for part in parts if part is not None)


def _option_row(option: Any) -> Sequence[str]:
    return ", ".join(f"`{flag}`" for flag in option.opts), _plain(option.help or "")


def _plain(text: str) -> str:
    """Help without the escapes of Rich's markup."""
    return text.replace(r"\[", "[")


def _paragraphs(text: str) -> str:
    """The paragraphs of a docstring, one line each."""
    return _plain("\n\n".join(" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text.strip())))


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |\n" for line in lines)


PAGES: Mapping[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "endpoints.md": endpoints_page,
    "errors.md": errors_page,
    "metrics.md": metrics_page,
    "cli.md": cli_page,
}


def generated() -> Mapping[Path, str]:
    """Every page by its path, as it should be."""
    return {REFERENCE / name: MARK + make() for name, make in PAGES.items()}


def main() -> int:
    stale = [path for path, text in generated().items() if not path.is_file() or path.read_text("utf-8") != text]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path} is not what the code says: make docs")
        return 1 if stale else 0
    REFERENCE.mkdir(exist_ok=True)
    for path, text in generated().items():
        path.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
