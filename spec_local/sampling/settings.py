"""How the target draws its tokens: every setting of the sampler chain, checked when it is made."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal, get_args

from spec_local.errors import ConfigError, require

AcceptanceRule = Literal["keyed", "rejection", "block"]
"""Which drafted tokens are accepted; `engine/verify.py` explains the three."""

_LARGEST, _SMALLEST = 1e5, 1e-6
_LARGEST_WHOLE = 2**31 - 1
"""llama.cpp computes with 32-bit floats and integers; these bounds are safely within."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the target draws its tokens; names, defaults and order are those of llama.cpp.

    Order of application: logit bias, penalties, DRY, top-n-sigma, top-k, typical, top-p, min-p,
    XTC, temperature; then what schema or grammar and banned strings let through; then the draw.
    """

    temperature: float = 0.8
    """0 takes the most probable token (after penalties)."""
    top_k: int = 40
    """Keep the k most probable tokens; 0 keeps all."""
    top_p: float = 0.95
    """Keep the smallest set of tokens with at least this probability; 1 keeps all."""
    min_p: float = 0.05
    """Keep tokens at least this probable relative to the most probable one; 0 keeps all."""
    typical_p: float = 1.0
    """Locally typical sampling (arXiv 2202.00666); 1 turns it off."""
    top_n_sigma: float = -1.0
    """Keep logits within this many standard deviations of the largest (arXiv 2411.07641).

    0 or less turns it off. It looks at the whole vocabulary, so it is the slowest of the settings.
    """
    xtc_probability: float = 0.0
    """How often the most probable choices are excluded (XTC); 0 turns it off."""
    xtc_threshold: float = 0.1
    """XTC drops all tokens at least this probable but the least probable of them."""
    dynatemp_range: float = 0.0
    """The temperature follows the entropy from `temperature` minus this to plus this; 0: fixed."""
    dynatemp_exponent: float = 1.0
    """How the entropy maps to the dynamic temperature."""
    repeat_penalty: float = 1.0
    """Divides positive and multiplies negative logits of recent tokens; 1 turns it off."""
    frequency_penalty: float = 0.0
    """Subtracted from a recent token's logit once per occurrence."""
    presence_penalty: float = 0.0
    """Subtracted from a recent token's logit once."""
    repeat_last_n: int = 64
    """How many tokens count as recent; -1 is the whole context."""
    dry_multiplier: float = 0.0
    """Strength of DRY, which penalizes tokens that would prolong a repetition; 0 turns it off."""
    dry_base: float = 1.75
    """The penalty is multiplier x base ** (length of the repetition - dry_allowed_length)."""
    dry_allowed_length: int = 2
    """Repetitions up to this many tokens are not penalized."""
    dry_penalty_last_n: int = 64
    """How many tokens DRY looks back; -1 is the whole context."""
    dry_sequence_breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    """Strings that end a repetition."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    """Pairs of a token id and what is added to its logit."""
    banned_tokens: tuple[int, ...] = ()
    """Token ids that are never drawn."""
    banned_strings: tuple[str, ...] = ()
    """Strings the generated text never contains: the token that would complete one is refused."""
    grammar: str | None = None
    """A GBNF grammar with a rule `root` that the whole text must follow."""
    json_schema: str | None = None
    """A JSON schema, as JSON, that the text must satisfy, without a thought before it; instead of a
    grammar."""
    acceptance: AcceptanceRule = "keyed"
    """Which drafted tokens are accepted. `keyed` gives the same text with any drafter."""
    seed: int = 0
    """Key of the noise; the same seed gives the same text, with `keyed` whatever the drafter."""

    def __post_init__(self) -> None:
        for name in ("temperature", "dynatemp_range"):
            _require_number(self, name, low=0.0)
        for name in ("dynatemp_exponent", "dry_multiplier", "xtc_threshold"):
            _require_number(self, name, low=0.0)
        for name in ("top_p", "min_p", "typical_p", "xtc_probability"):
            _require_number(self, name, low=0.0, high=1.0)
        for name in ("frequency_penalty", "presence_penalty", "top_n_sigma"):
            _require_number(self, name)
        _require_number(self, "dry_base", low=1.0)
        for name, low in (("top_k", 0), ("repeat_last_n", -1), ("seed", 0)):
            _require_whole(self, name, low)
        for name, low in (("dry_allowed_length", 0), ("dry_penalty_last_n", -1)):
            _require_whole(self, name, low)
        _require_number(self, "repeat_penalty", low=_SMALLEST)
        cold = 0 < self.temperature < _SMALLEST
        require(not cold, f"temperature must be 0 or at least {_SMALLEST:g}.")
        known = get_args(AcceptanceRule)
        require(self.acceptance in known, f"acceptance must be one of {', '.join(known)}.")
        self._check_lists()
        self._check_structure()

    def _check_lists(self) -> None:
        for name in ("dry_sequence_breakers", "banned_strings"):
            texts = getattr(self, name)
            require(isinstance(texts, tuple), f"{name} must be a tuple of strings.")
            require(all(map(_is_text, texts)), f"{name} must be texts that are not empty.")
        ids = self.banned_tokens
        require(
            isinstance(ids, tuple) and all(map(_is_token, ids)),
            "banned_tokens must be a tuple of token ids.",
        )
        pairs = self.logit_bias
        require(
            isinstance(pairs, tuple)
            and all(isinstance(p, tuple) and len(p) == 2 and _is_token(p[0]) for p in pairs),
            "logit_bias must be a tuple of pairs, a token id and a number.",
        )
        require(
            all(_is_number(bias) and -_LARGEST <= bias <= _LARGEST for _, bias in pairs)
            and len({token for token, _ in pairs}) == len(pairs),
            f"logit_bias must have every token once, with a number of at most {_LARGEST:g}.",
        )

    def _check_structure(self) -> None:
        for name in ("grammar", "json_schema"):
            text = getattr(self, name)
            fits = text is None or (_is_text(text) and bool(text.strip()))
            require(fits, f"{name} must be a text that is not empty.")
        require(
            self.grammar is None or self.json_schema is None,
            "Give a grammar or a JSON schema, not both.",
        )
        if self.json_schema is not None:
            try:
                json.loads(self.json_schema)
            except (ValueError, RecursionError) as error:
                raise ConfigError(f"json_schema is not JSON: {error}.") from None

    @property
    def greedy(self) -> bool:
        """Whether the most probable token is always taken."""
        return self.temperature == 0 and self.dynatemp_range == 0

    @property
    def penalizes(self) -> bool:
        """Whether recent tokens are penalized."""
        penalties = (self.repeat_penalty, self.frequency_penalty, self.presence_penalty)
        return penalties != (1.0, 0.0, 0.0) and self.repeat_last_n != 0

    @property
    def dries(self) -> bool:
        """Whether DRY penalizes what prolongs a repetition."""
        return self.dry_multiplier > 0 and self.dry_penalty_last_n != 0

    @property
    def look_back(self) -> int | None:
        """How many of the last tokens the draw depends on, beyond the logits; None is all."""
        windows = [self.repeat_last_n] if self.penalizes else []
        windows += [self.dry_penalty_last_n] if self.dries else []
        return None if -1 in windows else max(windows, default=0)

    @property
    def raises(self) -> bool:
        """Whether a penalty or a bias may make a token more probable instead of less."""
        below = self.repeat_penalty < 1 or min(self.frequency_penalty, self.presence_penalty) < 0
        return (self.penalizes and below) or any(bias > 0 for _, bias in self.logit_bias)

    @property
    def excludes_top(self) -> bool:
        """Whether XTC may exclude the most probable choices."""
        return self.xtc_probability > 0 and self.xtc_threshold <= 0.5

    @property
    def truncates(self) -> bool:
        """Whether improbable tokens are cut off."""
        return self.top_k > 0 or self.min_p > 0 or self.top_p < 1 or self.typical_p < 1

    @property
    def reorders(self) -> bool:
        """Whether a truncation can remove the most probable token, so that even greedy needs it."""
        return self.typical_p < 1 or self.excludes_top


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_text(value: object) -> bool:
    """Whether it is a string that C and UTF-8 can take."""
    if not isinstance(value, str) or not value or "\0" in value:
        return False
    return not any("\ud800" <= char <= "\udfff" for char in value)


def _is_token(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _require_number(
    owner: object, name: str, low: float = -_LARGEST, high: float = _LARGEST
) -> None:
    value = getattr(owner, name)
    fits = _is_number(value) and low <= value <= high
    require(fits, f"{name} must be a number of at least {low:,g} and at most {high:,g}.")


def _require_whole(owner: object, name: str, low: int) -> None:
    value = getattr(owner, name)
    whole = isinstance(value, int) and not isinstance(value, bool)
    fits = whole and value >= low
    require(fits, f"{name} must be a whole number of at least {low}.")
    require(value <= _LARGEST_WHOLE or name == "seed", f"{name} is too large.")
