"""Grammars that llama.cpp would walk for ever are found out by counting how they can begin."""

from __future__ import annotations

import pytest

from spec_local.errors import ConfigError
from spec_local.sampling.gbnf_reader import require_readable
from spec_local.sampling.gbnf_size import require_small

NESTED = (
    "root ::= r0\n" + "".join(f"r{i} ::= r{i + 1}? r{i + 1}?\n" for i in range(14)) + 'r14 ::= "a"'
)
TOO_LARGE = {
    "optional in optional": NESTED,
    "empty in empty": NESTED.replace("?", "").replace('"a"', '"a" | ""'),
    "optional in a row": 'root ::= "a"? ' + '"b"? ' * 400,
    "repeated optional": 'root ::= ("a"? "b"?){400}',
    "a chain of rules": "root ::= r0\n"
    + "".join(f"r{i} ::= r{i + 1}\n" for i in range(20_000))
    + 'r20000 ::= "a"',
    "alternatives": "root ::= " + " | ".join(f'"{i}"' for i in range(20_000)),
    "characters": 'root ::= "' + "a" * 1_000_000 + '"',
}
SOUND = (
    "root ::= [^\\n]{0,500} name\nname ::= [a-z]{0,2000}",
    'root ::= item root | ""\nitem ::= [a-z]+ ws\nws ::= [ \\n]*',
    'root ::= expr\nexpr ::= term ("+" expr)?\nterm ::= "(" expr ")" | [0-9]+',
    'root ::= "{" (pair ("," pair)*)? "}" # what JSON has\n'
    'pair ::= "\\"" [^"]* "\\"" ":" value\n'
    'value ::= root | "[" (value ("," value)*)? "]" | [0-9]{1,9}',
    "root ::= " + " | ".join(f'"{i}"' for i in range(5_000)),
    'root ::= "a" '
    + " ".join(f"r{i}" for i in range(200))
    + "\n"
    + "\n".join(f'r{i} ::= "b" | "c"' for i in range(200)),
)


@pytest.mark.parametrize("kind", TOO_LARGE)
def test_a_grammar_without_end_is_one_sentence(kind: str) -> None:
    require_readable(TOO_LARGE[kind])
    with pytest.raises(ConfigError, match=r"^The grammar can begin in too many ways; use fewer"):
        require_small(TOO_LARGE[kind])


@pytest.mark.parametrize("grammar", SOUND)
def test_a_grammar_of_any_sound_form_is_let_through(grammar: str) -> None:
    require_readable(grammar)
    require_small(grammar)


@pytest.mark.parametrize(
    "grammar",
    ['root ::= root "a" | "b"', 'root ::= "x" | a\na ::= "b"? root "c"', "root ::= (root)"],
)
def test_a_rule_that_begins_with_itself_is_one_sentence(grammar: str) -> None:
    require_readable(grammar)
    with pytest.raises(ConfigError, match=r"left recursion, as (root|a) begins with itself"):
        require_small(grammar)
