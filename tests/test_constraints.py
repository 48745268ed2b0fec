"""Grammars, JSON schemas and banned strings: obeyed, whatever the drafter and the rule."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from spec_local import ConfigError, LoadOptions, Runner, Sampling
from spec_local.drafters.build import BUILDERS
from spec_local.drafters.model import ModelDrafter
from spec_local.engine.draft import Draft, Verdict
from spec_local.engine.verify import block
from spec_local.errors import EngineError, NoTokenAllowed
from spec_local.llama.chain import LlamaChain
from spec_local.llama.grammar import Grammar
from spec_local.llama.model import Model
from spec_local.sampling.constraints import BannedStrings, Constraint, allowed_candidates
from spec_local.sampling.distribution import Ids
from spec_local.sampling.prefilter import candidates
from spec_local.sampling.sampler import TokenSampler
from tests.fake import N_VOCAB, PROMPT, TableSession, sampler_for

pytestmark = pytest.mark.llama

LETTERS = {i: bytes([97 + i]) for i in range(26)}
HELLO = [{"role": "user", "content": "hello there"}]
DATE = 'root ::= year "-" [0-1] [0-9]\nyear ::= [0-9] [0-9] [0-9] [0-9]\n'
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "name": {"type": "string", "pattern": "^[A-Za-z]{1,8}$"},
            "age": {"type": "integer", "minimum": 0, "maximum": 99},
            "kind": {"enum": ["cat", "dog"]},
        },
        "required": ["name", "age", "kind"],
        "additionalProperties": False,
    }
)


class Every:
    """Allows ids in a set; remembers nothing."""

    def __init__(self, allowed: set[int]) -> None:
        self.allowed = allowed
        self.asked = 0

    def allows(self, ids: Ids) -> NDArray[np.bool_]:
        self.asked += len(ids)
        return np.isin(ids, list(self.allowed))

    def accept(self, token: int) -> None:
        assert token in self.allowed

    def copy(self) -> Constraint:
        return Every(self.allowed)

    def follow(self, other: Constraint) -> None:
        pass

    def close(self) -> None:
        pass


# ---- banned strings ------------------------------------------------------------------------------


def test_only_the_token_that_would_complete_it_is_refused() -> None:
    banned = BannedStrings(["cab", "dd"], lambda token: LETTERS[token])
    for token in (2, 0):  # "ca"
        assert banned.allows(np.array([token], np.int32)).all()
        banned.accept(token)
    assert banned.allows(np.arange(4, dtype=np.int32)).tolist() == [True, False, True, True]
    copy = banned.copy()
    banned.accept(3)  # "cad"
    assert banned.allows(np.array([1, 3], np.int32)).tolist() == [True, False]
    assert copy.allows(np.array([1, 3], np.int32)).tolist() == [False, True]
    copy.follow(banned)
    assert copy.allows(np.array([1, 3], np.int32)).tolist() == [True, False]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=3), st.integers(0, 99))
def test_banned_strings_never_appear(banned: list[str], seed: int) -> None:
    pieces = [b"a", b"b", b"c", b"ab", b"bca", b"."]
    constraint = BannedStrings(banned, lambda token: pieces[token])
    sampling = Sampling(temperature=1.0, seed=seed, top_k=0, top_p=1.0, min_p=0.0)
    sampler = TokenSampler(sampling, LlamaChain(sampling, n_vocab=6, n_ctx=99), (), [constraint])
    row = np.array([2, 2, 2, 1, 1, -3], np.float32)
    text = b"".join(pieces[sampler.draw(row)] for _ in range(40)).decode()
    sampler.close()
    assert not any(string in text for string in banned)


# ---- the sampler under constraints ---------------------------------------------------------------


def constrained(sampling: Sampling, *constraints: Constraint, n_vocab: int = 24) -> TokenSampler:
    return TokenSampler(sampling, LlamaChain(sampling, n_vocab=n_vocab, n_ctx=64), (), constraints)


@pytest.mark.parametrize("setting", [{}, {"top_k": 3}, {"top_k": 0, "top_p": 1.0, "min_p": 0.0}])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_asking_after_the_draw_is_the_same_as_asking_before(
    setting: dict[str, float], temperature: float
) -> None:
    rng = np.random.default_rng(0)
    for seed in range(300):
        sampling = Sampling(temperature=temperature, seed=seed, **setting)  # type: ignore[arg-type]
        row = rng.normal(size=24).astype(np.float32) * 2
        allowed = set(rng.choice(24, size=rng.integers(1, 12), replace=False).tolist())
        drawing = constrained(sampling, Every(allowed))
        asking = constrained(sampling, Every(allowed))
        distribution = asking.distribution(row)
        assert set(distribution.ids.tolist()) <= allowed
        assert drawing.draw(row) == asking.emit(distribution)
        drawing.close()
        asking.close()


def test_an_allowed_draw_asks_about_nothing_else() -> None:
    row = np.array([9.0, 0.0, 1.0, 2.0], np.float32)
    every = Every({0, 1})
    sampler = constrained(Sampling(temperature=0), every, n_vocab=4)
    assert sampler.draw(row) == 0
    assert every.asked == 1
    sampler.close()


def test_the_chain_is_what_constraints_leave_of_it_renormalised() -> None:
    sampling = Sampling(temperature=1.0, top_k=3, top_p=1.0, min_p=0.0)
    row = np.log(np.array([0.5, 0.3, 0.1, 0.06, 0.04], np.float32))
    some = constrained(sampling, Every({1, 2, 4}), n_vocab=5).distribution(row)
    assert dict(zip(some.ids.tolist(), some.probabilities.round(6), strict=True)) == {
        1: 0.75,
        2: 0.25,
    }
    # Nothing of the top 3 is allowed, so the chain runs again on what is.
    rest = constrained(sampling, Every({3, 4}), n_vocab=5).distribution(row)
    assert dict(zip(rest.ids.tolist(), rest.probabilities.round(6), strict=True)) == {
        3: 0.6,
        4: 0.4,
    }


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 999), st.integers(0, 30), st.floats(0.0005, 0.5), st.booleans())
def test_the_search_finds_what_a_full_one_would(
    seed: int, top_k: int, density: float, shift: bool
) -> None:
    rng = np.random.default_rng(seed)
    row = (rng.normal(size=5_000) * 3).astype(np.float32)
    allowed = set(np.flatnonzero(rng.random(5_000) < density).tolist()) | {7}
    shifted = rng.integers(0, 5_000, 20).astype(np.int32) if shift else np.empty(0, np.int32)
    shifted = np.unique(shifted)
    sampling = Sampling(temperature=1.0, top_k=top_k, min_p=0.0)
    found = allowed_candidates(row, sampling, [Every(allowed)], shifted)
    assert len(set(found.tolist())) == len(found)
    assert set(found.tolist()) <= allowed
    masked = np.full_like(row, -np.inf)
    masked[list(allowed)] = row[list(allowed)]
    wanted = candidates(masked, sampling, shifted)
    wanted_ids = {i for i in wanted.tolist() if i in allowed}
    best = sorted(wanted_ids - set(shifted.tolist()), key=lambda i: -row[i])
    # Beyond the second look only as many are sought as it has found.
    assert set(best[: top_k or None]) <= set(found.tolist()) or len(found) < len(wanted_ids)
    assert not best or best[0] in found
    assert wanted_ids & set(shifted.tolist()) <= set(found.tolist())


def test_a_dead_end_of_the_draft_matters_only_if_it_is_accepted() -> None:
    """After token 5 the constraint lets nothing through; the target hardly ever draws it."""

    class DeadEnd(Every):
        def accept(self, token: int) -> None:
            if token == 5:
                self.allowed = set()

        def copy(self) -> Constraint:
            return DeadEnd(self.allowed)

    sampling = Sampling(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, acceptance="block")
    likely, hardly = np.full((3, 8), -9.0, np.float32), np.zeros((3, 8), np.float32)
    likely[:, 2] = 9.0
    hardly[:, 5] = 9.0
    offered = constrained(sampling, n_vocab=8).distribution(hardly[0])
    draft = Draft((5, 2), distributions=(offered, offered))
    sampler = constrained(sampling, DeadEnd(set(range(8))), n_vocab=8)
    assert block(likely, draft, sampler) == Verdict(0, token=2)
    sampler.close()
    sampler = constrained(sampling, DeadEnd(set(range(8))), n_vocab=8)
    with pytest.raises(NoTokenAllowed):
        block(hardly, draft, sampler)
    sampler.close()


def test_greedy_still_sees_what_xtc_would_exclude() -> None:
    """Nothing of the chain's choice is allowed; then XTC needs more than the best allowed token."""
    row = np.array([9.0, 3.0, 2.9, 2.8, -5.0], np.float32)
    sampling = Sampling(temperature=0, xtc_probability=1.0, xtc_threshold=0.1, top_k=0, min_p=0.0)
    sampler = constrained(sampling, Every({1, 2, 3, 4}), n_vocab=5)
    assert sampler.draw(row) == 3
    sampler.close()


def test_nothing_allowed_is_an_error_and_not_a_crash() -> None:
    sampler = constrained(Sampling(), Every(set()), n_vocab=4)
    with pytest.raises(EngineError, match="No token is allowed here"):
        sampler.draw(np.zeros(4, np.float32))
    sampler.close()
    ban_all = Sampling(banned_tokens=(0, 1, 2, 3), temperature=0)
    sampler = constrained(ban_all, n_vocab=4)
    with pytest.raises(EngineError, match="No token is allowed here"):
        sampler.draw(np.zeros(4, np.float32))
    sampler.close()


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_logits_that_are_not_numbers_are_an_error(wrong: float) -> None:
    for sampling in (Sampling(temperature=0), Sampling(), Sampling(repeat_penalty=1.2)):
        for tokens in (slice(None), 3):
            sampler, row = sampler_for(sampling, (1, 2)), np.zeros(N_VOCAB, np.float32)
            row[tokens] = wrong
            with pytest.raises(EngineError, match="not numbers"):
                sampler.draw(row)
            sampler.close()


def test_drafted_tokens_that_are_refused_are_cut_off() -> None:
    banned = BannedStrings(["cab"], lambda token: LETTERS[token])
    sampler = constrained(Sampling(), banned)
    assert sampler.possible([2, 0, 3, 2, 0, 1, 5]) == 5
    assert sampler.possible([2, 0, 3]) == 3
    assert sampler.possible([2, 0, 1]) == 2  # asking changed nothing
    sampler.close()


def test_drafted_tokens_that_a_constraint_cannot_follow_are_cut_off() -> None:
    class Breaking(Every):
        def accept(self, token: int) -> None:
            if token == 5:
                raise NoTokenAllowed("This cannot be followed.")

        def copy(self) -> Constraint:
            return Breaking(self.allowed)

    sampler = constrained(Sampling(), Breaking(set(range(8))))
    assert sampler.possible([2, 3, 5, 2]) == 2
    assert sampler.possible([2, 3]) == 2
    sampler.close()


def test_a_draft_ends_where_the_draft_model_can_say_nothing() -> None:
    draft = TableSession(seed=0)
    drafter = ModelDrafter(draft, n_vocab=12)
    sampler = constrained(Sampling(temperature=0), Every({20, 21}))
    drafter.begin(PROMPT, sampler)
    proposed = drafter.propose(PROMPT, 3)
    assert proposed.tokens == ()
    assert proposed.evaluated == len(PROMPT)
    drafter.end(PROMPT)
    sampler.close()


# ---- grammars on a model -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runner(tiny: Path) -> Iterator[Runner]:
    with Runner.load(target=tiny, drafter="lookup", options=LoadOptions(n_ctx=256)) as runner:
        yield runner


def test_a_grammar_says_which_tokens_may_come(tiny: Path) -> None:
    with Model(tiny, vocab_only=True) as model:
        vocab = model.vocab
        ids = {c: vocab.tokenize(c, add_special=False, parse_special=False)[-1] for c in "abcd"}
        end = vocab.special_ids["eos"]
        grammar = Grammar('root ::= "ab" [c-d]?', vocab)

        def allowed(of: Grammar) -> str:
            order = [*ids.values(), end]
            marks = of.allows(np.array(order, np.int32))
            return "".join(c for c, mark in zip("abcd$", marks, strict=True) if mark)

        control = vocab.tokenize("<|im_start|>", add_special=False, parse_special=True)
        anything = Grammar('root ::= [^"]+', vocab)
        assert anything.allows(np.array([ids["a"], *control], np.int32)).tolist() == [True, False]
        anything.close()
        assert allowed(grammar) == "a"
        grammar.accept(ids["a"])
        copy = grammar.copy()
        grammar.accept(ids["b"])
        assert (allowed(grammar), allowed(copy)) == ("cd$", "b")
        copy.follow(grammar)
        grammar.accept(ids["d"])
        assert (allowed(grammar), allowed(copy)) == ("$", "cd$")
        grammar.accept(end)
        for one in (grammar, copy, copy):
            one.close()


@pytest.mark.parametrize("rule", ["keyed", "rejection", "block"])
@pytest.mark.parametrize("drafter", BUILDERS)
@pytest.mark.parametrize("temperature", [0.0, 1.2])
def test_every_drafter_and_rule_obeys_the_grammar(
    tiny: Path, tiny_draft: Path, rule: str, drafter: str, temperature: float
) -> None:
    with Runner.load(
        target=tiny, draft=tiny_draft, drafter=drafter, k=4, options=LoadOptions(n_ctx=256)
    ) as runner:
        for seed in range(3):
            sampling = Sampling(
                temperature=temperature,
                seed=seed,
                grammar=DATE,
                acceptance=rule,  # type: ignore[arg-type]
            )
            done = runner.complete(HELLO, sampling=sampling)
            assert re.fullmatch(r"\d{4}-[01]\d", done.text)
            assert done.finish_reason == "stop"


@pytest.mark.parametrize(
    "structure",
    [
        {"grammar": 'root ::= ("la" | "di")+ "."'},
        {"json_schema": SCHEMA},
        {"banned_strings": ("e", "a ")},
        {"grammar": "root ::= [a-z ]+", "banned_strings": ("a", "e", "i")},
    ],
    ids=["grammar", "schema", "bans", "both"],
)
@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_the_text_is_the_same_with_any_drafter(
    tiny: Path, tiny_draft: Path, structure: dict[str, object], temperature: float
) -> None:
    sampling = Sampling(temperature=temperature, seed=2, **structure)  # type: ignore[arg-type]
    texts = set()
    for drafter in BUILDERS:
        with Runner.load(
            target=tiny, draft=tiny_draft, drafter=drafter, k=4, options=LoadOptions(n_ctx=512)
        ) as runner:
            texts.add(runner.complete(HELLO, max_tokens=60, sampling=sampling).tokens)
    assert len(texts) == 1


def test_a_vocabulary_is_read_once_for_schemas_and_only_for_them(
    tiny: Path, tiny_draft: Path
) -> None:
    sampling = Sampling(json_schema='{"const": 1}')
    options = LoadOptions(n_ctx=256)
    with Runner.load(target=tiny, draft=tiny_draft, drafter="model", options=options) as runner:
        assert runner.draft is not None
        target, draft = runner.target.model.vocab, runner.draft.model.vocab
        runner.complete(HELLO, max_tokens=4, sampling=Sampling(grammar='root ::= "la"+'))
        assert "token_table" not in vars(target)
        assert runner.complete(HELLO, sampling=sampling).text == "1"
        table = vars(target)["token_table"]
        with closing(Runner(runner.target, "none")) as other:
            other.complete(HELLO, sampling=sampling)
        assert vars(target)["token_table"] is table
        assert "token_table" not in vars(draft)


def test_json_follows_its_schema(runner: Runner) -> None:
    for seed in range(4):
        sampling = Sampling(temperature=1.0, seed=seed, json_schema=SCHEMA)
        answer = json.loads(runner.complete(HELLO, sampling=sampling).text)
        jsonschema.validate(answer, json.loads(SCHEMA))


leaf = st.sampled_from(
    [
        {"type": "integer", "minimum": -20, "exclusiveMaximum": 7},
        {"type": "integer", "minimum": 998},
        {"type": "number"},
        {"type": ["boolean", "null"]},
        {"type": "string", "maxLength": 3},
        {"type": "string", "minLength": 1, "maxLength": 2},
        {"type": "string", "pattern": "^(ab|[0-9]{1,2}\\.x?)$"},
        {"type": "string", "format": "date"},
        {"enum": ["a", 'q"\\', 3, None, [1]]},
        {"const": {"k": [True, "\n"]}},
    ]
)
schemas = st.recursive(
    leaf,
    lambda inner: st.one_of(
        st.builds(
            lambda properties, count: {
                "type": "object",
                "properties": properties,
                "required": list(properties)[:count],
                "additionalProperties": False,
            },
            st.dictionaries(st.sampled_from(["a", "b c", "d"]), inner, min_size=1),
            st.integers(0, 3),
        ),
        st.builds(
            lambda items, least, more: {
                "type": "array",
                "items": items,
                "minItems": least,
                "maxItems": least + more,
            },
            inner,
            st.integers(0, 2),
            st.integers(0, 2),
        ),
        st.lists(inner, min_size=1, max_size=3).map(lambda options: {"anyOf": options}),
        st.lists(inner, min_size=1, max_size=2).map(
            lambda items: {"type": "array", "prefixItems": items, "items": False}
        ),
    ),
    max_leaves=6,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(schemas, st.integers(0, 9))
def test_whatever_schema_is_accepted_is_obeyed(
    runner: Runner, schema: dict[str, object], seed: int
) -> None:
    sampling = Sampling(
        temperature=1.5,
        seed=seed,
        json_schema=json.dumps(schema),
        banned_tokens=tuple(range(4 + 128, 4 + 256)),  # no noise that is not UTF-8
    )
    done = runner.complete(HELLO, max_tokens=180, sampling=sampling)
    if done.finish_reason == "stop":
        jsonschema.validate(json.loads(done.text), schema)


def test_no_draft_goes_past_the_end_of_the_grammar(runner: Runner) -> None:
    """Lookup would repeat the prompt's own date and what follows it."""
    text = "2024-11 and so on. 2024-11 and so on. "
    sampling = Sampling(temperature=0, grammar='root ::= "2024-11"', repeat_penalty=1.0)
    chunks = list(runner.generate(text + "2024", sampling=sampling, max_tokens=20))
    assert "".join(chunk.text for chunk in chunks) == "2024-11"
    assert chunks[-1].finish_reason == "stop"
    # 7 characters and the end; drafts of the date itself are accepted, nothing else is drafted.
    assert chunks[-1].stats.drafted == chunks[-1].stats.accepted > 0


@pytest.mark.parametrize(
    ("structure", "complaint"),
    [
        ({"grammar": "root ::= ("}, "expecting '\\)'"),
        ({"grammar": "nothing"}, "The grammar cannot be used"),
        ({"grammar": 'other ::= "a"'}, "The grammar cannot be used"),
        ({"grammar": 'root ::= root "a" | "b"'}, "left recursion"),
        ({"grammar": 'root ::= "a"{5,2}'}, "write the smaller number first"),
        ({"grammar": 'root ::= "a"{3000}'}, "at most 2000"),
        ({"grammar": 'root ::= "A: " !<|im_end|>+'}, "refers to tokens"),
        ({"grammar": "root ::= " + "(" * 300 + '"a"' + ")" * 300}, "nests more than 200"),
        ({"json_schema": '{"type": "teapot"}'}, "cannot be obeyed"),
        ({"json_schema": '{"type": "string", "minLenght": 3}'}, "minLenght of answer would not"),
        ({"json_schema": '{"$ref": "#/$defs/none"}'}, "cannot be obeyed"),
        ({"json_schema": '{"$ref": "https://x.org/y"}'}, "cannot be obeyed"),
        ({"json_schema": '"just text"'}, "cannot be obeyed"),
    ],
    ids=str,
)
def test_broken_structures_are_one_sentence(
    runner: Runner, structure: dict[str, str], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint) as error:
        runner.complete(HELLO, sampling=Sampling(**structure))  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    assert runner.complete(HELLO, max_tokens=3, sampling=Sampling()).tokens


# ---- real models ---------------------------------------------------------------------------------


@pytest.mark.model("smollm2-135m")
def test_a_real_model_fills_in_a_schema(model_files: list[Path]) -> None:
    schema = json.loads(SCHEMA)
    question = [{"role": "user", "content": "Describe a pet as JSON: name, age, kind."}]
    for temperature in (0.0, 1.0):
        texts = set()
        for drafter in ("none", "lookup"):
            sampling = Sampling(temperature=temperature, seed=1, json_schema=SCHEMA)
            # One draft token: two rows, which this CPU backend computes like one.
            with Runner.load(target=model_files[0], drafter=drafter, k=1) as runner:
                texts.add(runner.complete(question, max_tokens=200, sampling=sampling).text)
        (text,) = texts
        jsonschema.validate(json.loads(text), schema)
