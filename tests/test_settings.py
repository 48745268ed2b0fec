"""Records check themselves, and statistics add up."""

from __future__ import annotations

import math

import pytest

from spec_local.drafters.none import NoDrafter
from spec_local.engine.rounds import Round, Stats
from spec_local.engine.speculate import FixedK
from spec_local.errors import ConfigError
from spec_local.llama.options import LoadOptions
from spec_local.sampling.settings import Sampling


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", "hot"),
        ("top_p", 1.5),
        ("top_p", True),
        ("min_p", 2.0),
        ("typical_p", -1),
        ("top_k", -1),
        ("top_k", 1.5),
        ("repeat_penalty", 0),
        ("repeat_last_n", -2),
        ("seed", -1),
        ("frequency_penalty", math.inf),
        ("dry_base", 0.5),
        ("dry_penalty_last_n", -2),
        ("xtc_probability", 1.5),
        ("dynatemp_range", -1),
        ("banned_tokens", (-1,)),
        ("banned_tokens", [1]),
        ("banned_strings", ("",)),
        ("logit_bias", ((1, "x"),)),
        ("logit_bias", ((1, 2.0), (1, 3.0))),
        ("logit_bias", ((1, math.inf),)),
        ("grammar", " "),
        ("json_schema", "{"),
        ("acceptance", "greedy"),
        ("temperature", 1e-40),
        ("temperature", 10**400),
        ("repeat_penalty", 1e-50),
        ("frequency_penalty", -1e300),
        ("logit_bias", ((5, 1e300),)),
        ("repeat_last_n", 2**31),
        ("top_k", 2**32 + 1),
        ("banned_strings", ("\ud800",)),
        ("grammar", "\0"),
    ],
)
def test_sampling_names_the_bad_field(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=field):
        Sampling(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n_ctx", -1),
        ("n_batch", 0),
        ("n_gpu_layers", -2),
        ("kv_type_k", "q9"),
        ("flash_attention", "maybe"),
    ],
)
def test_load_options_name_the_bad_field(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=field.replace("_", "[_ ]")):
        LoadOptions(**{field: value})  # type: ignore[arg-type]


def test_a_negative_draft_length_is_refused() -> None:
    with pytest.raises(ConfigError, match="k, the number of drafted tokens"):
        FixedK(NoDrafter(), -1)


def test_stats_add_up() -> None:
    def a_round(tokens: int, drafted: int, seconds: float) -> Round:
        return Round(
            tokens=(0,) * tokens,
            accepted=tokens - 1,
            drafted=drafted,
            drafter="",
            evaluated=1 + drafted,
            draft_evaluated=drafted,
            draft_seconds=0.1,
            evaluate_seconds=0.2,
            sample_seconds=0.01,
            seconds=seconds,
        )

    stats = Stats(prompt_tokens=9)
    for round_ in (a_round(1, 0, 5.0), a_round(4, 3, 1.0), a_round(2, 3, 1.0)):
        stats = stats.plus(round_)
    assert (stats.tokens, stats.rounds, stats.drafted, stats.accepted) == (7, 3, 6, 4)
    assert stats.prompt_seconds == 5.0
    assert stats.decode_seconds == pytest.approx(2.0)
    assert stats.tokens_per_second == pytest.approx(3.0)
    assert stats.acceptance_rate == pytest.approx(4 / 6)
    assert stats.mean_accepted_length == pytest.approx(3.0)
    assert stats.as_dict()["tokens_per_second"] == pytest.approx(3.0)


def test_rates_of_nothing_are_zero() -> None:
    empty = Stats()
    rates = (empty.tokens_per_second, empty.acceptance_rate, empty.mean_accepted_length)
    assert rates == (0.0, 0.0, 0.0)
