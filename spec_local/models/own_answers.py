"""What a target writes itself, and how often a draft would have written the same.

A draft is right at a position if, given all before it, its likeliest token is the one the target
wrote. The target wrote at temperature 0, so one evaluation of a whole answer tells of all its
positions at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from spec_local.engine.types import EvaluationSession
from spec_local.llama.model import Model
from spec_local.llama.template import ChatTemplate
from spec_local.models.target_corpus import corpus_prompts
from spec_local.prompt import prompt_tokens
from spec_local.util.progress import Share


@dataclass(frozen=True, slots=True)
class Answer:
    """Tokens of a prompt and of what the target answered, its end included if it came to one."""

    context: list[int]
    tokens: list[int]


def short_prompts(model: Model, count: int) -> list[list[int]]:
    """Tokens of so many prompts of different kinds, all of one line; none is of the benchmark."""
    texts = corpus_prompts()[:count]
    if model.chat_template is None:
        return [model.vocab.tokenize(each, add_special=True, parse_special=False) for each in texts]
    template = ChatTemplate(model)
    return [
        prompt_tokens([{"role": "user", "content": each}], model, lambda: template)
        for each in texts
    ]


def write_answers(
    target: EvaluationSession,
    prompts: Sequence[Sequence[int]],
    n_tokens: int,
    is_end: Callable[[int], bool],
    progress: Share,
) -> list[Answer]:
    """What the target answers to each prompt, at most so many tokens."""
    answers = []
    for number, prompt in enumerate(prompts):
        target.truncate(0)
        fresh, tokens = list(prompt), list[int]()
        while len(tokens) < n_tokens and not (tokens and is_end(tokens[-1])):
            tokens.append(int(target.evaluate(fresh)[-1].argmax()))
            fresh = tokens[-1:]
            progress((number + len(tokens) / n_tokens) / len(prompts))
        answers.append(Answer(list(prompt), tokens))
    return answers


def agreement(draft: EvaluationSession, answers: Sequence[Answer], n_vocab: int) -> float:
    """Share of the answers' tokens that are the draft's likeliest, given all before them.

    draft: in the target's token ids, of which there are n_vocab; it can return a row for each token
    of an answer.
    """
    right = 0
    for answer in answers:
        draft.truncate(0)
        rows = draft.evaluate([*answer.context, *answer.tokens[:-1]], len(answer.tokens))
        right += int((rows[:, :n_vocab].argmax(axis=1) == answer.tokens).sum())
    return right / sum(len(answer.tokens) for answer in answers)
