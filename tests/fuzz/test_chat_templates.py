"""Chat templates of random pieces: they are rendered, or refused in time."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.llama

NAMES = st.sampled_from(["messages", "message", "x", "loop", "ns", "tools", "bos_token", "range"])
ATOMS = st.one_of(
    NAMES,
    st.sampled_from(["''", "'a'", "0", "1", "10 ** 9", "-1", "[]", "{}", "none", "true", "[1, 2]"]),
)
EXPRESSIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "*", "~", "/", "%", "in", "**", "=="]), inner).map(
            " ".join
        ),
        st.tuples(
            inner,
            st.sampled_from(["length", "list", "join", "upper", "tojson", "sort", "batch(2)"]),
        ).map(" | ".join),
        inner.map(lambda each: f"({each})[0]"),
        inner.map(lambda each: f"range({each})"),
        inner.map(lambda each: f"({each}).format({each})"),
        inner.map(lambda each: f"namespace(x={each})"),
    ),
    max_leaves=6,
)
TEMPLATES = st.recursive(
    st.one_of(st.text(max_size=5), EXPRESSIONS.map(lambda each: f"{{{{ {each} }}}}")),
    lambda inner: st.one_of(
        st.tuples(EXPRESSIONS, inner).map(
            lambda pair: f"{{% for x in {pair[0]} %}}{pair[1]}{{% endfor %}}"
        ),
        st.tuples(EXPRESSIONS, inner).map(
            lambda pair: f"{{% if {pair[0]} %}}{pair[1]}{{% endif %}}"
        ),
        st.tuples(EXPRESSIONS, inner).map(lambda pair: f"{{% set x = {pair[0]} %}}{pair[1]}"),
        st.tuples(NAMES, inner).map(
            lambda pair: (
                f"{{% macro {pair[0]}() %}}{pair[1]}{{{{ {pair[0]}() }}}}{{% endmacro %}}"
                f"{{{{ {pair[0]}() }}}}"
            )
        ),
        st.lists(inner, max_size=3).map("".join),
    ),
    max_leaves=6,
)
MESSAGES = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "yes"}]


@settings(max_examples=300)
@given(TEMPLATES)
def test_it_is_rendered_or_refused(source: str) -> None:
    from spec_local.llama.template_limits import CHARACTERS, LimitedTemplate

    written = ""
    with suppress(Exception):  # all of Python's and Jinja's, of which ChatTemplate makes a sentence
        template = LimitedTemplate(source, {"bos_token": "<s>"})
        written = template.render({"messages": MESSAGES, "tools": None})
    assert len(written) <= CHARACTERS
