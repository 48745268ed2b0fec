"""How many layers GPUs get, on machines and models that are made up; sizes are in MiB."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spec_local.llama.fit import Asked, Demand, Placement, fit, taken

MARGIN = 1024
SEVEN_B = Demand((184,) * 32, output=100, experts=(0,) * 32, compute=150, largest=100)
"""In Q4_K_M, with 4,096 tokens of context."""
THIRTY_TWO_B = Demand((300,) * 64, output=600, experts=(0,) * 64, compute=300, largest=600)
EXPERTS = Demand((360,) * 48, output=300, experts=(330,) * 48, compute=200, largest=300)
"""30B, of which 3B are read for a token."""
SMALL = Demand((18,) * 24, output=140, experts=(0,) * 24, compute=60, largest=140)
"""0.5B, a draft."""
ONE = {"CUDA0": 1.0}


def placed(target: Demand, free: int, *drafts: Demand) -> tuple[int, int, int]:
    """Layers of the target, layers of it without their experts, and layers of the drafts."""
    room = {"CUDA0": free - MARGIN}
    here, theirs = fit(Asked(target, ONE), [Asked(each, ONE) for each in drafts], room)
    return here.layers, here.cpu_moe, theirs.layers


@pytest.mark.parametrize(
    ("free", "layers", "draft_layers"),
    [
        # The draft takes 24 x 18 + 140 + 60 = 632, all of the target 32 x 184 + 100 + 150 = 6,138.
        (1024 + 632 + 6138, 33, 25),
        (1024 + 632 + 6137, 32, 25),
        (7100, 28, 25),  # 100 + 27 x 184 + 150 + 100 of 7,100 - 1,024 - 632
        (1024 + 632 + 349, 0, 25),  # the output alone takes 100 + 150 + 100
        (1024 + 632 + 350, 1, 25),
        (1024 + 631, 0, 17),  # 140 + 16 x 18 + 60 + 140 = 628
        (1024, 0, 0),
        (0, 0, 0),
    ],
)
def test_eight_gigabytes_and_a_7b(free: int, layers: int, draft_layers: int) -> None:
    assert placed(SEVEN_B, free, SMALL) == (layers, 0, draft_layers)


def test_twenty_four_gigabytes_and_a_32b() -> None:
    assert placed(THIRTY_TWO_B, 23_000, SMALL) == (65, 0, 25)
    longer = replace(THIRTY_TWO_B, layers=(300 + 112,) * 64)  # a context eight times as long
    # 600 + 48 x 412 + 300 + 600 = 21,276 of 23,000 - 1,024 - 632 = 21,344
    assert placed(longer, 23_000, SMALL) == (49, 0, 25)


def test_the_memory_that_macos_lets_a_gpu_have() -> None:
    """Of 16 GB two thirds, as Metal's recommendedMaxWorkingSetSize has it."""
    assert placed(SEVEN_B, 10_922, SMALL) == (33, 0, 25)
    assert placed(THIRTY_TWO_B, 10_922, SMALL) == (26, 0, 25)  # 1,500 + 25 x 300 of 9,266


def test_without_a_draft_the_target_has_its_room() -> None:
    assert placed(SEVEN_B, 1024 + 6138) == (33, 0, 0)
    assert placed(SEVEN_B, 1024 + 6137) == (32, 0, 0)


def test_of_several_drafts_each_has_as_many_layers() -> None:
    deeper = replace(SMALL, layers=(18,) * 30, experts=(0,) * 30)
    assert placed(SEVEN_B, 20_000, SMALL, deeper) == (33, 0, 31)
    # n layers of both: 2 x (140 + 60 + 140) + 2 (n - 1) x 18, of the shallower 25 at most
    assert placed(SEVEN_B, 1024 + 680 + 36 * 10, SMALL, deeper) == (0, 0, 11)


def test_experts_go_before_whole_layers() -> None:
    assert placed(EXPERTS, 20_000) == (49, 0, 0)
    # 48 x 360 + 300 + 200 + 300 - 34 x 330 = 6,860 of 8,000 - 1,024; 330 more would be too much
    assert placed(EXPERTS, 8_000) == (49, 34, 0)
    # All experts out: 48 x 30 + 800 = 2,240
    assert placed(EXPERTS, 1024 + 2240) == (49, 48, 0)
    assert placed(EXPERTS, 1024 + 2239) == (48, 48, 0)
    assert placed(EXPERTS, 1024 + 799) == (0, 48, 0)


def test_dense_layers_among_those_with_experts_stay() -> None:
    mixed = replace(EXPERTS, experts=(0,) * 3 + (330,) * 45)
    # 3 + m layers counted, so that m of them give up 330
    assert placed(mixed, 8_000) == (49, 37, 0)


def test_layers_are_divided_by_the_memory_of_two_gpus() -> None:
    asked = Asked(THIRTY_TWO_B, {"CUDA0": 24_000, "CUDA1": 8_000})
    # 49 of 65 are below three quarters; the other 16 are 15 layers and the output.
    assert taken(asked, Placement(65)) == {"CUDA0": 49 * 300 + 300, "CUDA1": 15 * 300 + 600 + 300}
    room = {"CUDA0": 24_000 - MARGIN, "CUDA1": 8_000 - MARGIN}
    assert fit(asked, [], room)[0] == Placement(65)
    longer = replace(asked, demand=replace(THIRTY_TWO_B, layers=(412,) * 64))
    assert taken(longer, Placement(64))["CUDA1"] == 15 * 412 + 900  # more than 6,976
    assert taken(longer, Placement(63))["CUDA1"] == 14 * 412 + 900
    assert fit(longer, [], room)[0] == Placement(63)


def test_a_given_division_is_kept() -> None:
    asked = Asked(SEVEN_B, {"CUDA0": 3.0, "CUDA1": 1.0})
    assert taken(asked, Placement(33)) == {"CUDA0": 25 * 184 + 150, "CUDA1": 7 * 184 + 250}
    none = Asked(SEVEN_B, {"CUDA0": 0.0, "CUDA1": 1.0})
    assert taken(none, Placement(33)) == {"CUDA1": 32 * 184 + 250}


def test_what_is_given_is_not_decided() -> None:
    target = Asked(SEVEN_B, ONE, layers=10)
    # 100 + 9 x 184 + 150 + 100 = 2,006 is used, whether it fits or not.
    found = fit(target, [Asked(SMALL, ONE)], {"CUDA0": 2006 + 632})
    assert found == (Placement(10), Placement(25))
    assert fit(target, [Asked(SMALL, ONE)], {"CUDA0": 0}) == (Placement(10), Placement(0))
    given = Asked(SMALL, ONE, layers=5)
    assert fit(Asked(SEVEN_B, ONE), [given], {"CUDA0": 0}) == (Placement(0), Placement(5))
    experts = Asked(EXPERTS, ONE, cpu_moe=10)
    assert fit(experts, [], {"CUDA0": 20_000})[0] == Placement(49, 10)


def test_drafts_that_are_given_all_layers_have_all_of_theirs() -> None:
    deeper = replace(SMALL, layers=(18,) * 30, experts=(0,) * 30)
    drafts = [Asked(each, ONE, layers=each.most) for each in (SMALL, deeper)]
    assert taken(drafts[0], Placement(31)) == taken(Asked(SMALL, ONE), Placement(25))
    # They take 632 and 30 x 18 + 140 + 60 = 740, and all of the target 6,138.
    for order in (drafts, drafts[::-1]):
        room = {"CUDA0": 632 + 740 + 6138}
        assert fit(Asked(SEVEN_B, ONE), order, room) == (Placement(33), Placement(31))
        room["CUDA0"] -= 1
        assert fit(Asked(SEVEN_B, ONE), order, room) == (Placement(32), Placement(31))


def test_models_on_devices_of_their_own_do_not_compete() -> None:
    target, draft = Asked(SEVEN_B, {"CUDA0": 1.0}), Asked(SMALL, {"CUDA1": 1.0})
    room = {"CUDA0": 6138, "CUDA1": 632}
    assert fit(target, [draft], room) == (Placement(33), Placement(25))


def test_without_a_gpu_there_is_nothing_to_divide() -> None:
    assert taken(Asked(SEVEN_B, {}), Placement(33)) == {}
    assert fit(Asked(SEVEN_B, {}), [], {}) == (Placement(33), Placement(0))
