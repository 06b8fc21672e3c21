"""Templates in Go's language, recognised by their markers."""

from __future__ import annotations

import pytest

from modelhost.engines import TRAITS
from modelhost.engines.prompting import STOPS, bundled_template
from modelhost.errors import InvalidRequest
from modelhost.http.ollama.jinja import check_jinja
from modelhost.http.ollama.templates import jinja_of, shown_template

GO = {
    "chatml": "{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ end }}<|im_start|>user\n{{ .Prompt }}",
    "llama3": "<|start_header_id|>user<|end_header_id|>\n\n{{ .Prompt }}<|eot_id|>",
    "gemma": "<start_of_turn>user\n{{ .Prompt }}<end_of_turn>\n<start_of_turn>model\n",
    "llama2": "[INST] <<SYS>>{{ .System }}<</SYS>>\n\n{{ .Prompt }} [/INST]",
    "mistral": "[INST] {{ if .System }}{{ .System }} {{ end }}{{ .Prompt }} [/INST]",
    "phi3": "<|user|>\n{{ .Prompt }}<|end|>\n<|assistant|>\n",
    "phi4": "<|im_start|>{{ .Role }}<|im_sep|>\n{{ .Content }}<|im_end|>\n<|im_start|>assistant<|im_sep|>\n",
    "zephyr": "<|system|>\n{{ .System }}</s>\n<|user|>\n{{ .Prompt }}</s>\n<|assistant|>\n",
    "alpaca": "### Instruction:\n{{ .Prompt }}\n\n### Response:\n",
    "vicuna": "{{ .System }}\nUSER: {{ .Prompt }}\nASSISTANT: ",
}


@pytest.mark.parametrize("family", GO)
def test_a_template_of_a_known_family_becomes_the_one_that_comes_with_modelhost(family: str) -> None:
    assert jinja_of(GO[family], None) == family
    assert family in STOPS


@pytest.mark.parametrize("family", GO)
def test_the_own_template_of_a_model_of_that_family_serves(family: str) -> None:
    assert jinja_of(GO[family], bundled_template(family)) is None


def test_the_own_template_of_a_model_of_another_family_does_not_serve() -> None:
    assert jinja_of(GO["chatml"], "{% for m in messages %}[INST]{{ m.role }}[/INST]{% endfor %}") == "chatml"


def test_a_template_in_jinja_is_taken_as_it_is() -> None:
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    assert jinja_of(template, None) == template


@pytest.mark.parametrize("name", STOPS)
def test_the_templates_that_come_with_modelhost_compile(name: str) -> None:
    check_jinja(bundled_template(name) or "", TRAITS["llamacpp"].unknown_statements)


def test_tags_of_the_transformers_library_are_known() -> None:
    check_jinja(
        "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% break %}{% endfor %}", frozenset()
    )


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ m.content ",
        "{% for m in messages %}{{ m.content }}",
        "{% unheard_of %}",
        "{% if x %}{{" + "(" * 20_000 + "1" + ")" * 20_000 + "}}{% endif %}",
    ],
)
def test_a_template_that_does_not_compile_is_refused(template: str) -> None:
    with pytest.raises(InvalidRequest, match="does not compile") as refused:
        jinja_of(template, None)
    assert refused.value.param == "template"


@pytest.mark.parametrize(
    "statement", ["{% include 'a' %}", "{%- import 'a' as b %}", "{% from 'a' import b %}", "{%+ extends 'a' %}"]
)
def test_a_template_that_loads_another_one_is_refused(statement: str) -> None:
    with pytest.raises(InvalidRequest, match=r"line 2 loads another template") as refused:
        jinja_of(f"{{% for m in messages %}}{{{{ m.content }}}}{{% endfor %}}\n{statement}", None)
    assert refused.value.param == "template"


@pytest.mark.parametrize(
    "statement",
    ["{% with a = 1 %}{% endwith %}", "{% block a %}{% endblock %}", "{% raw %}{% for %}{% endraw %}", "{% print 1 %}"],
)
def test_a_statement_that_the_engine_does_not_know_is_refused(statement: str) -> None:
    jinja_of(statement, None)
    with pytest.raises(InvalidRequest, match="is no statement that the engine of this model knows"):
        jinja_of(statement, None, TRAITS["llamacpp"].unknown_statements)


def test_names_of_statements_in_texts_and_comments_are_no_statements() -> None:
    template = "{# {% include 'a' %} #}{% set import = '{% raw %}' %}include{{ import }}"
    assert jinja_of(template, None, TRAITS["llamacpp"].unknown_statements) == template


GLM4 = "[gMASK]<sop><|user|>\n{{ .Prompt }}<|assistant|>"
MISTRAL_SMALL = "[SYSTEM_PROMPT]{{ .System }}[/SYSTEM_PROMPT][INST]{{ .Prompt }}[/INST]"


@pytest.mark.parametrize("template", [GLM4, MISTRAL_SMALL])
def test_a_template_that_only_looks_like_a_known_family_needs_the_own_one_of_the_model(template: str) -> None:
    assert jinja_of(template, "{% for m in messages %}<|user|>[/INST]<|assistant|>{% endfor %}") is None
    with pytest.raises(InvalidRequest, match="Leave it out"):
        jinja_of(template, None)


@pytest.mark.parametrize("template", ["{{ .Prompt }}", "Question: {{ .Prompt }}\nAnswer:"])
def test_any_other_template_is_refused_with_the_way_out(template: str) -> None:
    with pytest.raises(InvalidRequest, match="Leave it out"):
        jinja_of(template, None)


def test_a_template_is_shown_as_its_text() -> None:
    assert shown_template("chatml") == bundled_template("chatml")
    assert shown_template("{% if x %}") == "{% if x %}"
    assert shown_template(None) is None
