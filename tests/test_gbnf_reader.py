"""Grammars that llama.cpp cannot read are refused before it would complain on stderr."""

from __future__ import annotations

import pytest

from spec_local.errors import ConfigError
from spec_local.sampling.gbnf_reader import require_readable

READABLE = [
    'root ::= "a"',
    '# a comment\n\nroot ::= a | "b" # another\na ::= [^a-z\\]"] ( "x" |\n "y" )* .\r\n',
    'root::=item+\nitem ::=\n  "\\x41\\u0042\\U00000043\\t\\\\" [0-9]{2} [a-]? "z"{1,} "q"{ 2 ,3 }',
    'root ::= ("a" "b"?)+ | \n ("c" # why\n | "d"){3}',
    'root ::= "" | []',
    'root ::= "a"**',
    'root ::= "a"{2000} | ("a"{0,50}){0,39}',
    'a ::= "x"\nroot ::= a\na ::= "y"',
]
UNREADABLE = {
    "": "no rule named root",
    'other ::= "a"': "no rule named root",
    "root ::= other": "a rule other, which is named but not there, in line 1",
    'root ::= "a"\n\nnext': "the name of a rule and ::=, in line 3",
    'root = "a"': "the name of a rule and ::=",
    'root ::= "a': "an end of the literal and known escapes",
    'root ::= "\\q"': "known escapes",
    'root ::= "\\x4"': "known escapes",
    "root ::= [a-z": "an end of the characters",
    'root ::= "a"{x}': "one or two numbers in braces",
    'root ::= "a"{1': "one or two numbers in braces",
    'root ::= ("a"': "expecting '\\)', in line 1",
    'root ::= "a")': "a new line or the end",
    'root ::= "a"\n "b"': "the name of a rule",
    "root ::= *": "something to repeat before \\*",
    'root ::= "a" | +': "something to repeat before \\+",
    'root ::= ""?': "something to repeat before \\?",
    'root ::= "a"{0}{2}': "something to repeat before {",
    'root ::= "a"{50}{41}': "fewer repetitions",
    'root#::= "a"': "the name of a rule and ::=",
    'root ::= ("a"{0,50}){0,50}': "fewer repetitions",
    'root ::= "a" !': "a new line or the end",
    'root ::= "a\0"': "a zero byte",
}


@pytest.mark.parametrize("grammar", READABLE)
def test_what_llama_cpp_reads_is_let_through(grammar: str) -> None:
    require_readable(grammar)


@pytest.mark.parametrize("grammar", UNREADABLE)
def test_what_it_does_not_read_is_one_sentence_with_the_line(grammar: str) -> None:
    with pytest.raises(ConfigError, match=UNREADABLE[grammar]) as error:
        require_readable(grammar)
    assert str(error.value).startswith("The grammar cannot be used: ")
    assert "\n" not in str(error.value)
