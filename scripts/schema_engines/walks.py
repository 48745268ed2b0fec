"""Texts drawn from a constraint without a model, and whether they validate."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np

from scripts.schema_engines.engines import Schema, Start
from spec_local.errors import ConfigError
from spec_local.llama.vocab import Vocabulary
from spec_local.sampling.constraints import Constraint
from spec_local.sampling.distribution import Ids

FEATURES = Path(__file__).with_name("features.jsonl")
"""A keyword a line: a schema, answers that are valid and answers that are not."""

_WALK_TOKENS = 400


class Walker:
    """Draws and checks texts of a constraint without a model."""

    def __init__(self, vocab: Vocabulary) -> None:
        self._vocab = vocab
        self._all = np.arange(vocab.n_tokens, dtype=np.int32)
        self._ends = np.array([t for t in range(vocab.n_tokens) if vocab.is_end(t)], np.int32)
        pieces = [vocab.piece(token) for token in range(vocab.n_tokens)]
        self._bytes = np.array([t for t, piece in enumerate(pieces) if len(piece) == 1], np.int32)
        # Brackets, quotes and commas are drawn more often, so that texts end.
        self._weights = np.array([40.0 if p[:1] in b'"]},:' else 1.0 for p in pieces])

    def walk(self, start: Constraint, rng: np.random.Generator) -> str | None:
        """A text that the constraint lets end, bytes that are not UTF-8 replaced as when shown.

        None after too many tokens without an end. Offered are all single bytes, some other tokens,
        and the ends, which win half the time.
        """
        text = b""
        with closing(start.copy()) as constraint:
            for _ in range(_WALK_TOKENS):
                if constraint.allows(self._ends).any() and rng.random() < 0.5:
                    return text.decode(errors="replace")
                some = rng.choice(self._all, 256)
                ids = self._allowed(constraint, np.concatenate((self._bytes, some)))
                if not len(ids):
                    ids = self._allowed(constraint, self._all)
                if not len(ids):
                    return text.decode(errors="replace")
                weights = self._weights[ids]
                token = int(rng.choice(ids, p=weights / weights.sum()))
                constraint.accept(token)
                text += self._vocab.piece(token)
        return None

    def _allowed(self, constraint: Constraint, ids: Ids) -> Ids:
        ids = np.setdiff1d(ids, self._ends)
        return ids[constraint.allows(ids)]

    def allows(self, start: Constraint, text: str) -> bool:
        """Whether the constraint lets a whole text through."""
        with closing(start.copy()) as constraint:
            for token in self._vocab.tokenize(text, add_special=False, parse_special=False):
                if not constraint.allows(np.array([token], np.int32))[0]:
                    return False
                constraint.accept(token)
            return bool(constraint.allows(self._ends).any())

    def disagreements(self, start: Constraint, text: str) -> int:
        """Positions of a text where a byte is allowed when asked alone, and not among others."""
        found = 0
        with closing(start.copy()) as constraint:
            for token in self._vocab.tokenize(text, add_special=False, parse_special=False):
                among = constraint.allows(self._bytes)
                alone = [constraint.allows(self._bytes[i : i + 1])[0] for i in range(len(among))]
                found += bool((among != alone).any())
                constraint.accept(token)
        return found


def judged(texts: Sequence[str | None], schema: Schema) -> dict[str, Any]:
    """How many texts ended, validate, and hold bytes that are no UTF-8; one that is not valid."""
    ended = [text for text in texts if text is not None]
    wrong = [text for text in ended if not validates(text, schema)]
    return {
        "texts": len(texts),
        "ended": len(ended),
        "valid": len(ended) - len(wrong),
        "broken": sum("\ufffd" in text for text in ended),
        "wrong": wrong[0] if wrong else None,
    }


def validates(text: str, schema: Schema) -> bool:
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    try:
        jsonschema.validate(json.loads(text), schema, format_checker=checker)
    except (ValueError, jsonschema.ValidationError):
        return False
    return True


def coverage(starts: dict[str, Start], walker: Walker, walks: int) -> list[dict[str, Any]]:
    """Of every keyword and engine: refused and why, or what the constraint lets through."""
    found = []
    for line in FEATURES.read_text().splitlines():
        case = json.loads(line)
        for name, start in starts.items():
            row: dict[str, Any] = {"feature": case["feature"], "engine": name}
            found.append(row)
            try:
                constraint = start(case["schema"])
            except ConfigError as error:
                row["refused"] = str(error)
                continue
            with closing(constraint):
                for kind in ("valid", "invalid"):
                    texts = [json.dumps(value, ensure_ascii=False) for value in case[kind]]
                    texts += case.get(f"{kind} texts", [])
                    row[f"{kind} allowed"] = [walker.allows(constraint, text) for text in texts]
                walked = [walker.walk(constraint, np.random.default_rng(i)) for i in range(walks)]
                row["walks"] = judged(walked, case["schema"])
    return found
