"""A chat template cannot stop the program it is rendered in: not by time, size or an exception."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from spec_local import ChatTemplate
from spec_local.errors import ConfigError
from spec_local.llama import template_limits
from spec_local.llama.model import Model
from spec_local.llama.template_limits import TemplateWithoutEnd

pytestmark = pytest.mark.llama

HI = [{"role": "user", "content": "hi"}]
NESTED = "{% for x in range(100000) %}"
FOREVER = {
    "loops of calls": NESTED * 3 + "{% endfor %}" * 3,
    "loops of lists": "{% set a = range(1000) | list %}"
    + "{% for x in a %}" * 9
    + "{% endfor %}" * 9,
    "recursion": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}"
    "{{ f(90) }}",
}
LARGE = {
    "a factor": "{{ 'a' * 10**8 }}",
    "a list": "{{ [1] * 10**9 }}",
    "a power": "{{ 10 ** 100000000 }}",
    "a width": "{{ '%1000000000d' % 5 }}",
    "a width that is given": "{{ '%*d' % (1000000000, 5) }}",
    "an indent": "{{ messages[0]['content'] | indent(100000000, true) }}",
    "a method": "{{ messages[0]['content'].ljust(1000000000) }}",
    "joining": "{% set ns = namespace(x='a') %}{% for i in range(40) %}"
    "{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "adding": "{% set ns = namespace(x='a') %}{% for i in range(40) %}"
    "{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "writing": "{% set x = 'a' * 10**6 %}{% for i in range(1000) %}{{ x }}{% endfor %}",
}
BROKEN = {
    "{{ 1 / 0 }}": "division by zero",
    "{{ range(10 ** 6) }}": "Range too big",
    "{{ 10.0 ** 400 }}": "out of range",
    "{{ 'x' + 1 }}": "concatenate",
    "{{ raise_exception('a\nb\x1b[31mc') }}": "messages: a b[31mc.",
    "{{ nothing.at.all }}": "'nothing' is undefined",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}": "recursion",
}
UNREADABLE = ("{% if x %}", "{{ " + "(" * 500, "{% for x in a %}" * 25 + "{% endfor %}" * 25)


@pytest.fixture(scope="module")
def model(tiny: Path) -> Iterator[Model]:
    with Model(tiny, vocab_only=True) as model:
        yield model


@pytest.mark.parametrize("kind", FOREVER)
def test_a_template_that_would_run_for_ever_is_one_sentence(
    model: Model, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template_limits, "SECONDS", 0.2)
    with pytest.raises(TemplateWithoutEnd, match="has no end: it takes too long; use another one"):
        ChatTemplate(model, FOREVER[kind]).render(HI)


@pytest.mark.parametrize("kind", LARGE)
def test_a_template_that_would_take_all_memory_is_one_sentence(model: Model, kind: str) -> None:
    with pytest.raises(TemplateWithoutEnd, match=r"^The model's chat template has no end: it "):
        ChatTemplate(model, LARGE[kind]).render(HI)


@pytest.mark.parametrize("source", BROKEN)
def test_whatever_a_template_fails_of_is_one_sentence(model: Model, source: str) -> None:
    with pytest.raises(ConfigError, match="refuses these messages: ") as caught:
        ChatTemplate(model, source).render(HI)
    assert "\n" not in str(caught.value)
    assert str(caught.value).isprintable()
    expected = BROKEN[source]
    assert expected in str(caught.value)


@pytest.mark.parametrize("source", UNREADABLE)
def test_a_template_that_cannot_be_read_is_one_sentence(model: Model, source: str) -> None:
    with pytest.raises(ConfigError, match=r"^The chat template given is broken: "):
        ChatTemplate(model, source)


def test_what_templates_use_is_there(model: Model) -> None:
    source = (
        "{{ bos_token }}{% for m in messages %}{{ loop.index }}/{{ loop.length }}{{ loop.last }} "
        "{{ m | tojson(indent=2) }}{{ (loop.index0 % 2 == 0) ~ '!' }}{{ 'a' * 3 }}{% endfor %}"
        "{{ messages[0].content.split('i')[0] | trim }}{{ '%s-%02d' % ('x', 7) }}{{ 2 ** 10 }}"
        "{{ strftime_now('%Y') | length }}{{ [1] + [2] }}"
    )
    assert ChatTemplate(model, source).render(HI) == (
        '<s>1/1True {\n  "role": "user",\n  "content": "hi"\n}True!aaahx-0710244[1, 2]'
    )


def test_numbers_are_data_and_names_are_the_templates(model: Model) -> None:
    """A time stamp in a call of a tool is no width, and any argument may be called `context`."""
    source = (
        "{% macro shown(context, called=1) %}{{ context | string }}{% endmacro %}"
        "{% set ns = namespace(context=1700000000) %}"
        "{{ 1700000000 | tojson }} {{ shown(context=1700000000) }} {{ ns.context }} "
        "{{ nothing | default(4294967295) | round(1) }}"
    )
    assert ChatTemplate(model, source).render(HI) == "1700000000 1700000000 1700000000 4294967295"
