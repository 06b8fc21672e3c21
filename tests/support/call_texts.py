"""Tool calls as models write them, form by form; the names are those of ``engines.tool_calls.forms``."""

from __future__ import annotations

import json
from typing import Any

PLAN = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 30},
        "days": {"type": "integer"},
        "unit": {"enum": ["C", "F"]},
        "hourly": {"type": "boolean"},
        "place": {"$ref": "#/$defs/place"},
        "note": {"type": ["string", "null"]},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["city", "days"],
    "$defs": {"place": {"type": "object", "properties": {"lat": {"type": "number"}}, "required": ["lat"]}},
}
TOOLS: list[dict[str, Any]] = [
    {"type": "function", "function": {"name": "forecast", "parameters": PLAN}},
    {"type": "function", "function": {"name": "now"}},
]
CITY = 'São "P"\\ <b>\n'
FORECAST = {"city": CITY, "days": 3, "unit": "C", "hourly": True, "place": {"lat": -23.5}}
CALLS = [("forecast", FORECAST), ("now", {})]


def _objects(key: str = "arguments") -> list[str]:
    return [json.dumps({"name": name, key: arguments}, ensure_ascii=False) for name, arguments in CALLS]


def _tagged(opening: str, head: str, key: str, ends: tuple[str, str, str]) -> list[str]:
    value_end, end, closing = ends

    def value(given: Any) -> str:
        return given if isinstance(given, str) else json.dumps(given)

    return [
        opening
        + head.format(name)
        + "".join(key.format(argument) + value(given) + value_end for argument, given in arguments.items())
        + end
        + closing
        for name, arguments in CALLS
    ]


def _python() -> list[str]:
    def value(given: Any) -> str:
        return str(given) if isinstance(given, bool) else json.dumps(given, ensure_ascii=False)

    return [
        f"{name}({', '.join(f'{key}={value(given)}' for key, given in arguments.items())})" for name, arguments in CALLS
    ]


def _gemma(opening: str, closing: str, quote: str) -> list[str]:
    def value(given: Any) -> str:
        return f"{quote}{given}{quote}" if isinstance(given, str) else json.dumps(given)

    return [
        f"{opening}call:{name}{{{','.join(f'{key}:{value(given)}' for key, given in arguments.items())}}}{closing}"
        for name, arguments in CALLS
    ]


BEGIN, END = "<\uff5ctool\u2581calls\u2581begin\uff5c>", "<\uff5ctool\u2581calls\u2581end\uff5c>"
CALL, CALL_END = "<\uff5ctool\u2581call\u2581begin\uff5c>", "<\uff5ctool\u2581call\u2581end\uff5c>"
SEP = "<\uff5ctool\u2581sep\uff5c>"
_ARGUMENTS = [json.dumps(arguments, ensure_ascii=False) for _, arguments in CALLS]
_V3 = [
    f"{CALL}function{SEP}{name}\n```json\n{arguments}\n```{CALL_END}"
    for (name, _), arguments in zip(CALLS, _ARGUMENTS, strict=True)
]
_V31 = [f"{CALL}{name}{SEP}{arguments}{CALL_END}" for (name, _), arguments in zip(CALLS, _ARGUMENTS, strict=True)]
_HEADED = [f"{name}[ARGS]{arguments}" for (name, _), arguments in zip(CALLS, _ARGUMENTS, strict=True)]
_HERMES = [f"<tool_call>\n{each}\n</tool_call>" for each in _objects()]
_CODER = _tagged(
    "<tool_call>\n", "<function={}>\n", "<parameter={}>\n", ("\n</parameter>\n", "</function>\n", "</tool_call>")
)
_SEED = _tagged(
    "<seed:tool_call>\n",
    "<function={}>\n",
    "<parameter={}>",
    ("</parameter>\n", "</function>\n", "</seed:tool_call>"),
)
_MINIMAX = _tagged(
    "<minimax:tool_call>\n",
    '<invoke name="{}">\n',
    '<parameter name="{}">',
    ("</parameter>\n", "</invoke>\n", "</minimax:tool_call>"),
)
_GLM = _tagged("<tool_call>", "{}\n", "<arg_key>{}</arg_key>\n<arg_value>", ("</arg_value>\n", "", "</tool_call>"))
_PYTHON = _python()
_FUNCTION_GEMMA = _gemma("<start_function_call>", "<end_function_call>", "<escape>")
_GEMMA_4 = _gemma("<|tool_call>", "<tool_call|>", '<|"|>')

WRITTEN: dict[str, tuple[list[str], str]] = {
    "hermes": (_HERMES, "\n".join(_HERMES)),
    "llama3_json": (_objects("parameters"), "; ".join(_objects("parameters"))),
    "llama4_json": (_objects("parameters"), "\n".join(_objects("parameters"))),
    "mistral_list": (
        [f"[TOOL_CALLS] [{each}]" for each in _objects()],
        f"[TOOL_CALLS] [{', '.join(_objects())}]",
    ),
    "mistral": ([f"[TOOL_CALLS]{each}" for each in _HEADED], "".join(f"[TOOL_CALLS]{each}" for each in _HEADED)),
    "phi4_mini_json": (
        [f"<|tool_call|>{each}<|/tool_call|>" for each in _objects()],
        f"<|tool_call|>[{', '.join(_objects())}]<|/tool_call|>",
    ),
    "granite": ([f"<|tool_call|>[{each}]" for each in _objects()], f"<|tool_call|>[{', '.join(_objects())}]"),
    "nemotron_json": (
        [f"<TOOLCALL>[{each}]</TOOLCALL>" for each in _objects()],
        f"<TOOLCALL>[{', '.join(_objects())}]</TOOLCALL>",
    ),
    "deepseek_v3": ([f"{BEGIN}{each}{END}" for each in _V3], BEGIN + "\n".join(_V3) + END),
    "deepseek_v31": ([f"{BEGIN}{each}{END}" for each in _V31], BEGIN + "".join(_V31) + END),
    "qwen3_coder": (_CODER, "\n".join(_CODER)),
    "seed_oss": (_SEED, "\n".join(_SEED)),
    "minimax_m2": (_MINIMAX, "\n".join(_MINIMAX)),
    "glm45": (_GLM, "\n".join(_GLM)),
    "llama4_pythonic": ([f"[{each}]" for each in _PYTHON], f"[{', '.join(_PYTHON)}]"),
    "lfm2": (
        [f"<|tool_call_start|>[{each}]<|tool_call_end|>" for each in _PYTHON],
        f"<|tool_call_start|>[{', '.join(_PYTHON)}]<|tool_call_end|>",
    ),
    "functiongemma": (_FUNCTION_GEMMA, "".join(_FUNCTION_GEMMA)),
    "gemma4": (_GEMMA_4, "".join(_GEMMA_4)),
}
"""For each form the calls one by one, as a demanded one is written, and both together, as a model writes them."""
NO_CALLS = {
    "hermes": [
        "<tool_call>\nno json\n</tool_call>",
        '<tool_call>{"a": 1}</tool_call>',
        "<tool_call>{]</tool_call>",
        '<tool_call>{"name": "a\\x", "arguments": {}}</tool_call>',
        '<tool_call>{"name": "\\ud800", "arguments": {}}</tool_call>',
    ],
    "llama3_json": [
        '{"name": "Bob", "age": 3}',
        '{"name": "Bob", "parameters": {"age": 3}}',
        '{"city": "Paris"}',
        '{"name": "forecast\\q", "parameters": {}}',
        "<|python_tag|>print(1)",
        "{",
    ],
    "mistral": ["[TOOL_CALLS] none of them", '[TOOL_CALLS][{"a": 1}]'],
    "deepseek_v3": [f"{BEGIN}{CALL}nothing{CALL_END}{END}"],
    "qwen3_coder": ["<tool_call>\nno function\n</tool_call>"],
    "glm45": ['<tool_call>{"name": "forecast"}</tool_call>'],
    "llama4_pythonic": ["[1, 2]", "[forecast(1)]", "[unknown(a=1)]", "[see](link)", "[forecast(city=open())]"],
    "lfm2": [
        f"<|tool_call_start|>[forecast({inside}]<|tool_call_end|>"
        for inside in ("", "a={1,2})", "a={[]:1})", 'a=b"x")', "a=1j)", "a=...)", "a={(1,2):3})", "a=1e999)")
    ],
    "gemma4": [f"<|tool_call>call:forecast{{a:{value}}}<tool_call|>" for value in ("NaN", '"\\ud800"', "[" * 2000)],
    "functiongemma": [
        "<start_function_call>call:x{a:}<end_function_call>",
        "<start_function_call>x<end_function_call>",
    ],
}


READ_ARGUMENTS = {"city": "L'Aquila \"d'Abruzzo\"", "list": ["a", None], "none": "None", "hourly": True, "days": 5}
PYTHON_ARGUMENTS = (
    r"""{"city": 'L\'Aquila "d\'Abruzzo"', 'list': ['a', None], "none": "None", "hourly": True, "days": 5}"""
)

ALSO_READ = [
    *(
        (name, text, [("forecast", READ_ARGUMENTS)])
        for name, text in (
            ("hermes", f'<tool_call>\n{{"name": "forecast", "arguments": {PYTHON_ARGUMENTS}}}\n</tool_call>'),
            ("hermes", f"<tool_call>\n{{'name': 'forecast', 'arguments': {PYTHON_ARGUMENTS}}}\n</tool_call>"),
            ("hermes", f'<tool_call>\n{{"arguments": {PYTHON_ARGUMENTS}, "name": "forecast"}}\n</tool_call>'),
            ("mistral", f"[TOOL_CALLS]forecast[ARGS]{PYTHON_ARGUMENTS}"),
        )
    ),
    ("llama3_json", '<|python_tag|>{"name": "now", "parameters": {}}', [("now", {})]),
    ("llama3_json", '{"type": "function", "name": "now", "parameters": {}}', [("now", {})]),
    ("llama3_json", '{"type": "function", "function": {"name": "now", "parameters": {}}}', [("now", {})]),
    ("llama3_json", '{"parameters": {}, "name": "now"}', [("now", {})]),
    ("mistral", '[TOOL_CALLS][{"name": "now", "arguments": {}, "id": "a1b2c3d4e"}]', [("now", {})]),
    ("mistral", "[TOOL_CALLS]now[CALL_ID]a1b2c3d4e[ARGS]{}", [("now", {})]),
    ("mistral_list", "[TOOL_CALLS]now[ARGS]{}", [("now", {})]),
    (
        "lfm2",
        "<|tool_call_start|>[forecast(days=123456789012345678901)]<|tool_call_end|>",
        [("forecast", {"days": 123456789012345678901})],
    ),
    ("granite", '<|tool_call|>{"name": "now", "arguments": "{}"}', [("now", {})]),
    (
        "qwen3_coder",
        "<function=forecast>\n<parameter=city>\n5\n</parameter>\n<parameter=days>\n5\n</parameter>\n</function>",
        [("forecast", {"city": "5", "days": 5})],
    ),
    (
        "qwen3_coder",
        (
            "<tool_call>\n<function=forecast>\n<parameter=note>\nnull\n</parameter>\n"
            "<parameter=hourly>\nTrue\n</parameter>\n<parameter=other>\n5\n</parameter>\n"
            "<parameter=unit>\nC</parameter>\n</function>\n</tool_call>"
        ),
        [("forecast", {"note": None, "hourly": True, "other": "5", "unit": "C"})],
    ),
    *(
        (
            "qwen3_coder",
            f"<tool_call>\n<function=forecast>\n{arguments}</function>\n</tool_call>",
            [("forecast", wanted)],
        )
        for arguments, wanted in (
            ("<parameter=city>\nParis\n<parameter=days>\n3\n</parameter>\n", {"city": "Paris", "days": 3}),
            ("<parameter=days>\n3\n<parameter=city>\nParis\n\n", {"days": 3, "city": "Paris\n"}),
            ("<parameter=days>\n3\n  <parameter=hourly>\ntrue\n", {"days": 3, "hourly": True}),
            (
                "<parameter=city>\n<parameter=x>\n</function> <b>\n</parameter>\n",
                {"city": "<parameter=x>\n</function> <b>"},
            ),
            ("<parameter=tags>\n['a', \"b'c\"]\n</parameter>\n", {"tags": ["a", "b'c"]}),
            ('<parameter=tags>\n["a\nb"]\n</parameter>\n', {"tags": ["a\nb"]}),
            ("<parameter=tags>\n['a\nb',]\n</parameter>\n", {"tags": ["a\nb"]}),
            ("<parameter=place>\n{'lat': None}\n</parameter>\n", {"place": {"lat": None}}),
            ("<parameter=tags>\n[a]\n</parameter>\n", {"tags": "[a]"}),
            ("<parameter=note>\n['a']\n</parameter>\n", {"note": "['a']"}),
        )
    ),
    (
        "qwen3_coder",
        "<function=forecast>\n<parameter=days>\n3\n<parameter=city>\nParis\n</function>\n</tool",
        [("forecast", {"days": 3, "city": "Paris"})],
    ),
    (
        "seed_oss",
        "<seed:tool_call>\n<function=forecast>\n<parameter=city>Paris<parameter=days>3</function>\n</seed:tool_call>",
        [("forecast", {"city": "Paris", "days": 3})],
    ),
    (
        "minimax_m2",
        (
            '<minimax:tool_call>\n<invoke name="forecast">\n<parameter name="city">Paris\n<parameter name="days">3\n'
            '</invoke>\n<invoke name="forecast">\n<parameter name="city">Oslo</invoke>\n</minimax:tool_call>'
        ),
        [("forecast", {"city": "Paris", "days": 3}), ("forecast", {"city": "Oslo"})],
    ),
    (
        "glm45",
        (
            "<tool_call>forecast\n<arg_key>city</arg_key>\n<arg_value>Paris\n<arg_key>days</arg_key>\n<arg_value>3"
            "</tool_call>\n<tool_call>forecast\n<arg_key>city</arg_key>\n<arg_value>Oslo</tool_call>"
        ),
        [("forecast", {"city": "Paris", "days": 3}), ("forecast", {"city": "Oslo"})],
    ),
    *(
        ("hermes", f"<tool_call>\n{{{call}}}\n</tool_call>", [("forecast", {"city": "a\nb\tc\nd", "days": 3})])
        for call in (
            '"name": "forecast", "arguments": {"city": "a\nb\tc\\\nd", "days": 3}',
            '"arguments": {"city": "a\nb\tc\\nd",\n"days": 3}, "name": "forecast"',
            '"name": "forecast", "arguments": "{\\"city\\": \\"a\\nb\tc\\nd\\", \\"days\\": 3}"',
        )
    ),
    ("mistral", '[TOOL_CALLS]forecast[ARGS]{"city": "a\n"}', [("forecast", {"city": "a\n"})]),
    (
        "openai",
        '<|channel|>commentary to=functions.forecast<|message|>{"city": "a\n"}',
        [("forecast", {"city": "a\n"})],
    ),
    (
        "lfm2",
        "<|tool_call_start|>[forecast(city='a\n\\\nb', note=\"'\n\")]<|tool_call_end|>",
        [("forecast", {"city": "a\n\nb", "note": "'\n"})],
    ),
    (
        "gemma4",
        '<|tool_call>call:forecast{tags:["a\n"]}<tool_call|>',
        [("forecast", {"tags": ["a\n"]})],
    ),
    ("glm45", "<tool_call>now</tool_call>", [("now", {})]),
    (
        "glm45",
        (
            "<tool_call>forecast<arg_key>note</arg_key><arg_value>5</arg_value><arg_key>days</arg_key>"
            "<arg_value>soon</arg_value></tool_call>"
        ),
        [("forecast", {"note": "5", "days": "soon"})],
    ),
    (
        "minimax_m2",
        '<minimax:tool_call>\n<invoke name="now">\n</invoke>\n<invoke name="now">\n</invoke>\n</minimax:tool_call>',
        [("now", {}), ("now", {})],
    ),
    ("llama4_pythonic", "<|python_start|>[now()]<|python_end|>", [("now", {})]),
    (
        "lfm2",
        "<|tool_call_start|>[forecast(city='a\\'b', days=-1)]<|tool_call_end|>",
        [("forecast", {"city": "a'b", "days": -1})],
    ),
    (
        "functiongemma",
        "<start_function_call>call:forecast{place:{lat:1},city:<escape>a:{b,c}<escape>}<end_function_call>",
        [("forecast", {"place": {"lat": 1}, "city": "a:{b,c}"})],
    ),
]


TEMPLATES = {
    "hermes": '{{ tools }}<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>',
    "llama3_json": 'Respond in the format {"name": function name, "parameters": dictionary}. {{ "<|python_tag|>" }}',
    "llama4_json": 'in the format {"name": function name, "parameters": dictionary}. {{ "<|python_start|>" }}',
    "mistral_list": '{{- "[TOOL_CALLS] [" }}{{ out[:-1] }}',
    "mistral": "{{- '[TOOL_CALLS]' + name + '[ARGS]' + arguments }}",
    "qwen3_coder": "<tool_call>\n<function=example_function_name>\n<parameter=example_parameter_1>",
    "glm45": "<tool_call>{function-name}\n<arg_key>{arg-key-1}</arg_key>",
    "deepseek_v3": f"{{{{ '{BEGIN}{CALL}' + tool['type'] + '{SEP}' + name + '\\n' + '```json' }}}}",
    "deepseek_v31": f"{{{{ '{BEGIN}{CALL}' + name + '{SEP}' + arguments }}}}",
    "llama4_pythonic": "<|python_start|>[func_name1(params_name1=params_value1)]<|python_end|>",
    "phi4_mini_json": '<|tool_call|>{"name": "foo", "arguments": {"a": 1}}<|/tool_call|>',
    "granite": "write <|tool_call|> followed by a JSON list of tools",
    "gemma4": "<|tool_call>call:name{}<tool_call|>",
}
