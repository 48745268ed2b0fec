"""The runner on a tiny model: text, turns, cancelling, one generation at a time."""

from __future__ import annotations

import gc
import inspect
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_type_hints

import pytest

from spec_local import (
    Chat,
    ConfigError,
    ContextOverflow,
    LoadOptions,
    ModelFileError,
    Runner,
    RunnerBusy,
    Sampling,
)
from spec_local.drafters.build import BUILDERS
from spec_local.generation import GenerationOptions
from spec_local.llama.model import Model
from spec_local.llama.session import Session
from spec_local.prompt import rendered_tokens
from tests.fake import ScriptedDrafter
from tests.tiny_gguf import write_tiny

pytestmark = pytest.mark.llama

OPTIONS = LoadOptions(n_ctx=256, n_batch=32)
GREEDY = Sampling(temperature=0)
HELLO = [{"role": "user", "content": "hello there"}]


@pytest.fixture(scope="module")
def runner(tiny: Path) -> Iterator[Runner]:
    with Runner.load(target=tiny, drafter="lookup", options=OPTIONS) as runner:
        yield runner


def cache_is_right(runner: Runner, prompt: list[int], generated: tuple[int, ...]) -> bool:
    committed = [*prompt, *generated]
    return list(runner.target.tokens) == committed[: len(runner.target.tokens)]


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(temperature=0.9, seed=4)], ids=["0", "0.9"])
def test_every_drafter_gives_the_same_text(
    tiny: Path, tiny_draft: Path, sampling: Sampling
) -> None:
    texts = {}
    for drafter in BUILDERS:
        with Runner.load(
            target=tiny, draft=tiny_draft, drafter=drafter, k=4, options=OPTIONS
        ) as runner:
            done = runner.complete(HELLO, max_tokens=60, sampling=sampling)
            texts[drafter] = done.tokens
            assert done.stats.rounds == runner.target.decode_calls
    assert len(set(texts.values())) == 1


def test_a_model_drafting_for_itself_is_always_right(tiny: Path) -> None:
    with Runner.load(target=tiny, draft=tiny, drafter="model", k=3, options=OPTIONS) as runner:
        done = runner.complete(HELLO, max_tokens=41, sampling=Sampling(temperature=1.0))
        assert done.stats.acceptance_rate > 0.9  # all of them, but for batch rounding
        assert runner.draft is not None
        draft_tokens = list(runner.draft.tokens)
        assert draft_tokens == [*runner.tokenize(HELLO), *done.tokens][: len(draft_tokens)]


def test_a_drafter_of_ones_own_leaves_the_text_unchanged(runner: Runner, tiny: Path) -> None:
    plain = runner.complete(HELLO, max_tokens=30, sampling=GREEDY)
    prompt = len(runner.tokenize(HELLO))

    def every_other_right(context: Sequence[int], budget: int) -> list[int]:
        rest = list(plain.tokens[len(context) - prompt :][:budget])
        return rest if len(context) % 2 else [token + 1 for token in rest]

    own = ScriptedDrafter(every_other_right)
    with Runner.load(target=tiny, drafter=own, k=4, options=OPTIONS) as drafted:
        done = drafted.complete(HELLO, max_tokens=30, sampling=GREEDY)
    assert done.tokens == plain.tokens
    assert 0 < done.stats.accepted < done.stats.drafted
    assert own.closed


def test_chunks_add_up_to_the_completion(runner: Runner) -> None:
    whole = runner.complete("once upon", max_tokens=50, sampling=GREEDY)
    chunks = list(runner.generate("once upon", max_tokens=50, sampling=GREEDY))
    assert "".join(chunk.text for chunk in chunks) == whole.text
    assert tuple(token for chunk in chunks for token in chunk.tokens) == whole.tokens
    assert [chunk.finish_reason for chunk in chunks][:-1] == [None] * (len(chunks) - 1)
    assert chunks[-1].finish_reason == whole.finish_reason == "length"
    assert all(len(chunk.drafted) == len(chunk.tokens) for chunk in chunks)
    assert sum(map(sum, (chunk.drafted for chunk in chunks))) == whole.stats.accepted
    assert not any(chunk.drafted[-1] for chunk in chunks)
    assert chunks[-1].stats.tokens == 50


def test_prompts_can_be_text_messages_or_tokens(runner: Runner) -> None:
    tokens = runner.tokenize(HELLO)
    by_tokens = runner.complete(tokens, max_tokens=9, sampling=GREEDY)
    assert by_tokens.tokens == runner.complete(HELLO, max_tokens=9, sampling=GREEDY).tokens
    assert runner.tokenize("hello")[0] == 1  # BOS
    assert runner.tokenize(HELLO)[:2] == [1, 3]  # the model wants a BOS, the template has none
    assert rendered_tokens("<s>hello", runner.target.model.vocab)[:2] != [1, 1]


def test_a_repeated_prompt_is_taken_from_the_cache(runner: Runner) -> None:
    first = runner.complete("the same words", max_tokens=5, sampling=GREEDY)
    again = runner.complete("the same words", max_tokens=5, sampling=GREEDY)
    assert again.tokens == first.tokens
    assert again.stats.cached_tokens == again.stats.prompt_tokens - 1
    assert again.stats.target_evaluated == first.stats.target_evaluated - (
        first.stats.prompt_tokens - first.stats.cached_tokens - 1
    )


def test_a_stop_string_ends_the_text(runner: Runner) -> None:
    plain = runner.complete("once", max_tokens=40, sampling=GREEDY)
    stop = plain.text[6:8]
    stopped = runner.complete("once", max_tokens=40, sampling=GREEDY, stop=[stop])
    assert stopped.text == plain.text[: plain.text.index(stop)]
    assert stopped.finish_reason == "stop"


def test_the_context_is_a_limit(runner: Runner) -> None:
    with pytest.raises(ContextOverflow, match=r"The prompt has [\d,]+ tokens and the context 256"):
        runner.generate("x" * 400)
    full = runner.complete("x" * 240, sampling=GREEDY)
    assert full.finish_reason == "context"


def test_a_context_that_llama_cpp_rounds_up_is_full_where_it_was_to_be(tiny: Path) -> None:
    with Runner.load(target=tiny, drafter="none", options=LoadOptions(n_ctx=40)) as small:
        endless = Sampling(temperature=0.0, banned_tokens=(1, 2))
        full = small.complete("x" * 20, sampling=endless)
        assert full.finish_reason == "context"
        # The last token is written and needs no room, as nothing comes after it.
        assert full.stats.prompt_tokens + full.stats.tokens == small.n_ctx + 1 == 41


@pytest.mark.parametrize(
    ("prompt", "how", "complaint"),
    [
        ([], {}, "The prompt is empty"),
        ([99_999], {}, "token ids the model lacks"),
        ("x", {"max_tokens": 0}, "max_tokens must be at least 1"),
        ([{"role": "user"}], {}, "needs a role and a content"),
    ],
)
def test_bad_requests_are_refused_at_once(
    runner: Runner, prompt: object, how: dict[str, int], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        runner.generate(prompt, **how)  # type: ignore[arg-type]


def test_only_one_generation_at_a_time(runner: Runner) -> None:
    first = runner.generate("once", max_tokens=30)
    next(first)
    with pytest.raises(RunnerBusy, match="generating already"):
        next(runner.generate("twice"))
    first.close()
    assert next(runner.generate("twice", max_tokens=3)).tokens


def test_closing_dropping_and_failing_free_the_runner(runner: Runner) -> None:
    prompt = runner.tokenize("once upon a time")
    expected = runner.complete(prompt, max_tokens=30, sampling=GREEDY).tokens

    generation = runner.generate(prompt, max_tokens=30, sampling=GREEDY)
    next(generation)
    generation.close()
    assert cache_is_right(runner, prompt, expected)

    generation = runner.generate(prompt, max_tokens=30, sampling=GREEDY)
    next(generation)
    del generation
    gc.collect()
    assert cache_is_right(runner, prompt, expected)

    def fail_in_the_loop() -> None:
        for _chunk in runner.generate(prompt, max_tokens=30, sampling=GREEDY):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_in_the_loop()
    gc.collect()
    assert runner.complete(prompt, max_tokens=30, sampling=GREEDY).tokens == expected


def test_dropping_needs_no_garbage_collector(runner: Runner) -> None:
    gc.disable()
    try:
        generation = runner.generate("once", max_tokens=30)
        next(generation)
        del generation
        next(runner.generate("twice", max_tokens=3))
    finally:
        gc.enable()


def test_cancelling_from_another_thread(runner: Runner) -> None:
    generation = runner.generate("once", sampling=GREEDY)
    chunks = []
    for chunk in generation:
        chunks.append(chunk)
        if len(chunks) == 4:
            canceller = threading.Thread(target=generation.cancel)
            canceller.start()
            canceller.join()
    assert generation.finish_reason == "cancelled"
    assert len(chunks) == 5
    assert chunks[4].tokens == ()  # the round after it was not finished
    whole = runner.complete("once", max_tokens=generation.stats.tokens, sampling=GREEDY)
    assert whole.tokens == tuple(token for chunk in chunks for token in chunk.tokens)


def test_cancelling_while_the_prompt_is_evaluated(runner: Runner) -> None:
    prompt = "a long prompt " * 12
    seen: list[float] = []

    def progress(stage: str, fraction: float) -> None:
        assert stage == "prompt"
        seen.append(fraction)
        if fraction > 0:
            generation.cancel()

    runner.target.truncate(0)
    generation = runner.generate(prompt, progress=progress)
    (chunk,) = generation
    assert len(seen) == 2  # its beginning, and one batch
    assert (chunk.tokens, chunk.finish_reason) == ((), "cancelled")
    assert len(runner.target.tokens) == OPTIONS.n_batch
    assert runner.complete(prompt, max_tokens=3).stats.cached_tokens == OPTIONS.n_batch


def test_how_far_a_prompt_has_been_read_is_told_from_its_beginning_to_its_end(
    runner: Runner, tiny: Path
) -> None:
    def told(of: Runner, prompt: str) -> list[tuple[str, float]]:
        found = list[tuple[str, float]]()
        of.target.truncate(0)
        of.complete(prompt, max_tokens=3, progress=lambda *step: found.append((step[0], step[1])))
        return found

    assert told(runner, "short") == [("prompt", 0.0), ("prompt", 1.0)]
    stages, shares = zip(*told(runner, "a long prompt " * 12), strict=True)
    assert set(stages) == {"prompt"}
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert list(shares) == sorted(shares)
    assert len(shares) > 4
    with Runner.load(target=tiny, draft=tiny, drafter="model", options=OPTIONS) as drafted:
        assert told(drafted, "a long prompt " * 12)[-1][0] == "draft prompt"


def test_tokens_are_counted_as_they_are_evaluated(runner: Runner) -> None:
    for prompt in ("once upon a time", HELLO, [5, 6, 7]):
        counted = runner.count_tokens(prompt)
        done = runner.complete(prompt, max_tokens=1)
        assert counted == done.stats.prompt_tokens


def test_cancelling_when_reading_begins_reads_nothing(runner: Runner) -> None:
    runner.target.truncate(0)
    generation = runner.generate("once", progress=lambda *_: generation.cancel())
    (chunk,) = generation
    assert (chunk.tokens, chunk.finish_reason) == ((), "cancelled")
    assert list(runner.target.tokens) == []


def test_closing_the_runner_ends_a_generation_in_another_thread(tiny: Path) -> None:
    runner = Runner.load(target=tiny, options=OPTIONS)
    started = threading.Event()
    reasons = list[str | None]()

    def work() -> None:
        generation = runner.generate("once", sampling=GREEDY)
        for _chunk in generation:
            started.set()
            time.sleep(0.01)  # so that it is not over before it is closed
        reasons.append(generation.finish_reason)

    thread = threading.Thread(target=work)
    thread.start()
    assert started.wait(10)
    runner.close()
    thread.join(10)
    assert not thread.is_alive()
    assert reasons == ["cancelled"]
    runner.close()


def test_closing_ends_the_generation_that_runs_and_not_only_the_latest(tiny: Path) -> None:
    runner = Runner.load(target=tiny, options=OPTIONS)
    running = runner.generate("once", sampling=GREEDY)
    next(running)
    with pytest.raises(RunnerBusy):
        runner.complete("twice")
    runner.close()
    assert list(running) == []
    with pytest.raises(ConfigError, match="This runner is closed"):
        runner.complete("thrice")


def test_a_runner_cannot_be_closed_from_inside_its_generation(tiny: Path) -> None:
    runner = Runner.load(target=tiny, options=OPTIONS)
    generation = runner.generate("x" * 100, max_tokens=3, progress=lambda *_: runner.close())
    with pytest.raises(RunnerBusy, match="from inside"):
        next(generation)
    assert runner.complete("once", max_tokens=3).tokens
    runner.close()


def test_runners_can_share_sessions(tiny: Path, tiny_draft: Path) -> None:
    with (
        Model(tiny, OPTIONS) as model,
        Model(tiny_draft, OPTIONS) as draft_model,
        Session(model) as target,
        Session(draft_model) as draft,
    ):
        first = Runner(target, "model", draft=draft)
        second = Runner(target, "model", draft=draft)
        expected = first.complete(HELLO, max_tokens=9, sampling=GREEDY).tokens
        first.close()
        assert second.complete(HELLO, max_tokens=9, sampling=GREEDY).tokens == expected


def test_a_closed_runner_says_so(tiny: Path) -> None:
    runner = Runner.load(target=tiny, options=OPTIONS)
    runner.close()
    for use in (lambda: runner.check(Sampling(dry_multiplier=1)), lambda: runner.generate("hi")):
        with pytest.raises(ConfigError, match="closed"):
            use()


def test_a_window_larger_than_the_context_is_the_context(tiny: Path) -> None:
    with Runner.load(target=tiny, options=OPTIONS) as runner:
        texts = {
            runner.complete(
                HELLO,
                max_tokens=40,
                sampling=Sampling(
                    repeat_penalty=1.3,
                    dry_multiplier=1,
                    repeat_last_n=window,
                    dry_penalty_last_n=window,
                ),
            ).text
            for window in (2_000_000_000, -1)
        }
    assert len(texts) == 1


def test_what_a_generation_takes_is_named_and_typed_wherever_one_begins() -> None:
    """So that an editor can complete it; all of it, and of the same types."""
    own = get_type_hints(GenerationOptions)
    all_of = get_type_hints(Runner.generate)
    assert {name: all_of[name] for name in own} == own
    assert all_of.keys() - own.keys() == {"prompt", "return"}
    for begin in (Runner.complete, Runner.acomplete, Runner.chat, Chat.__init__):
        assert inspect.get_annotations(begin)["options"] == "Unpack[GenerationOptions]"


def test_a_stop_may_be_a_single_string(runner: Runner) -> None:
    plain = runner.complete("once", max_tokens=40, sampling=GREEDY)
    stop = plain.text[6:8]
    stopped = runner.complete("once", max_tokens=40, sampling=GREEDY, stop=stop)
    assert stopped.text == plain.text[: plain.text.index(stop)]


def test_padding_at_the_end_of_the_vocabulary_is_allowed(tiny: Path, tmp_path: Path) -> None:
    padded = write_tiny(tmp_path / "padded.gguf", extra_tokens=8, seed=3)
    with Runner.load(target=tiny, drafter="none", options=OPTIONS) as runner:
        plain = runner.complete(HELLO, max_tokens=40, sampling=Sampling(temperature=1.2))
    for target, draft in ((tiny, padded), (padded, tiny)):
        with Runner.load(target=target, draft=draft, drafter="model", options=OPTIONS) as runner:
            done = runner.complete(HELLO, max_tokens=40, sampling=Sampling(temperature=1.2))
            assert done.stats.drafted > 0
            assert target != tiny or done.tokens == plain.tokens


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        ({}, "Give a pair or a target"),
        ({"pair": "smollm2", "target": "x.gguf"}, "not both"),
        ({"pair": "smolm2"}, "did you mean smollm2"),
        ({"target": "TINY", "drafter": "magic"}, "no drafter 'magic'; choose from: auto, none"),
        ({"target": "TINY", "drafter": "model"}, "needs a draft model: a pair with one"),
        ({"target": "TINY", "drafter": "lookup", "k": 40}, "k can be at most 32, not 40"),
    ],
)
def test_loading_says_what_is_wrong(tiny: Path, how: dict[str, object], complaint: str) -> None:
    how = {key: tiny if value == "TINY" else value for key, value in how.items()}
    with pytest.raises(ConfigError, match=complaint):
        Runner.load(**how)  # type: ignore[arg-type]


# ---- chat ----------------------------------------------------------------------------------------


def test_a_chat_evaluates_only_what_is_new(runner: Runner) -> None:
    chat = runner.chat("be brief", max_tokens=20, sampling=GREEDY)
    first = "".join(chunk.text for chunk in chat.send("hello"))
    assert [message["role"] for message in chat.messages] == ["system", "user", "assistant"]
    assert chat.messages[-1]["content"] == first
    held = len(runner.target.tokens)
    list(chat.send("and then?"))
    assert chat.generation is not None
    stats = chat.generation.stats
    assert stats.cached_tokens == held
    assert stats.prompt_tokens - held < 60


def test_an_answer_cut_short_stays_as_far_as_it_came(runner: Runner) -> None:
    chat = runner.chat(max_tokens=20, sampling=GREEDY)
    said = ""
    answer = chat.send("hello")
    for chunk in answer:
        said += chunk.text
        if len(said) > 3:
            break
    answer.close()
    assert chat.messages[-1] == {"role": "assistant", "content": said}
    assert list(chat.send("go on"))


def test_a_turn_that_does_not_fit_changes_nothing(runner: Runner) -> None:
    chat = runner.chat(max_tokens=5, sampling=GREEDY)
    list(chat.send("hello"))
    before = [*chat.messages]
    with pytest.raises(ContextOverflow):
        chat.send("x" * 300)
    assert chat.messages == before
    chat.reset()
    assert chat.messages == []
    assert list(chat.send("hello"))


def test_models_without_a_template_get_plain_lines(tmp_path: Path) -> None:
    bare = write_tiny(tmp_path / "bare.gguf", template=None)
    with Runner.load(target=bare, options=OPTIONS) as runner:
        assert runner.template.is_plain
        assert runner.template.render(HELLO) == "user: hello there\nassistant:"
        assert runner.complete(HELLO, max_tokens=5).tokens


def test_broken_and_refusing_templates(tmp_path: Path) -> None:
    broken = write_tiny(tmp_path / "broken.gguf", template="{% for %}")
    with Runner.load(target=broken, options=OPTIONS) as runner:
        assert runner.complete("plain text", max_tokens=3).tokens
        with pytest.raises(ModelFileError, match=r"chat template of broken.gguf is broken"):
            runner.generate(HELLO)
    refusing = write_tiny(
        tmp_path / "refusing.gguf", template="{{ raise_exception('no system messages') }}"
    )
    with (
        Runner.load(target=refusing, options=OPTIONS) as runner,
        pytest.raises(ConfigError, match="refuses these messages: no system messages"),
    ):
        runner.generate(HELLO)


# ---- what lookup may look into -------------------------------------------------------------------


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(temperature=0.9, seed=4)], ids=["0", "0.9"])
@pytest.mark.parametrize("drafter", ["auto", "lookup", "lookup-then-model"])
def test_a_prediction_or_a_corpus_leaves_the_text_unchanged(
    tiny: Path, tiny_draft: Path, tmp_path: Path, drafter: str, sampling: Sampling
) -> None:
    file = tmp_path / "corpus.txt"
    how = {"max_tokens": 60, "sampling": sampling}
    with Runner.load(target=tiny, drafter="none", options=OPTIONS) as plain:
        expected = plain.complete(HELLO, **how)  # type: ignore[arg-type]
    file.write_text(expected.text + " and more")
    with Runner.load(
        target=tiny, draft=tiny_draft, drafter=drafter, options=OPTIONS, lookup_corpus=[file]
    ) as runner:
        for prediction in (None, expected.text, expected.text[10:], "something else"):
            done = runner.complete(HELLO, prediction=prediction, **how)  # type: ignore[arg-type]
            assert done.tokens == expected.tokens


def test_what_has_no_text_to_look_into_or_no_use_for_it_is_refused(
    runner: Runner, tiny: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="The prediction is empty; leave it out"):
        runner.generate(HELLO, prediction="")
    empty, binary = tmp_path / "empty.txt", tmp_path / "binary"
    empty.write_text(" \n")
    binary.write_bytes(b"\xff\xfe\x00")
    for path, complaint in (
        (tmp_path / "missing.txt", "cannot be read: No such file"),
        (empty, "is empty; leave it out"),
        (binary, "it is not UTF-8 text"),
    ):
        with pytest.raises(ConfigError, match=complaint):
            Runner.load(target=tiny, lookup_corpus=[path])
    empty.write_text("text")
    with pytest.raises(ConfigError, match="The drafter model has no use for a lookup corpus"):
        Runner.load(target=tiny, draft=tiny, drafter="model", lookup_corpus=[empty])
    with (
        Runner.load(target=tiny, drafter=ScriptedDrafter(lambda *_: []), options=OPTIONS) as own,
        pytest.raises(ConfigError, match="The drafter scripted has no use for a prediction"),
    ):
        own.generate(HELLO, prediction="x")


def test_a_runner_that_is_dropped_frees_everything(tiny: Path, tiny_draft: Path) -> None:
    runner = Runner.load(target=tiny, draft=tiny_draft, options=OPTIONS)
    runner.complete("once", max_tokens=4)
    next(runner.generate("twice", max_tokens=9))  # not finished
    target, draft = runner.target, runner.draft
    assert draft is not None
    del runner
    gc.collect()
    for session in (target, draft):
        with pytest.raises(AssertionError, match="closed"):
            _ = session.handle
        with pytest.raises(AssertionError, match="closed"):
            _ = session.model.handle


def test_only_messages_end_by_the_templates_stop_strings(tmp_path: Path) -> None:
    bare = write_tiny(tmp_path / "bare.gguf", template=None)
    sampling = Sampling(temperature=0, grammar='root ::= "yes\\nuser: no"')
    with Runner.load(target=bare, options=OPTIONS) as runner:
        assert runner.template.stop == ("\nuser:", "\nUser:")
        assert runner.complete(HELLO, sampling=sampling).text == "yes"
        assert runner.complete(HELLO, sampling=sampling, stop="es").text == "y"
        assert runner.complete(iter(HELLO), sampling=sampling).text == "yes"  # type: ignore[arg-type]
        for prompt in ("hello", runner.tokenize("hello"), runner.tokenize(HELLO)):
            assert runner.complete(prompt, sampling=sampling).text == "yes\nuser: no"
        for stop, text in (("es", "y"), (["no"], "yes"), ((), "yes")):
            assert runner.chat(sampling=sampling, stop=stop).send("hello").complete().text == text
