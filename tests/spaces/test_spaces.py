"""What every search space does: draws, encodes, writes and builds its candidates, and says what is wrong with others."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
import pytest

import costmodel as cm
from costmodel.search import Choice, Row, Several, Space, Then

NAMES = cm.search.spaces()
LAWS = [(name, law) for name in NAMES if name.startswith("iotnets") for law in ("s1", "s2", "s3")]
ALL = [(name, {}) for name in NAMES] + [(name, {"law": law}) for name, law in LAWS if law != "s1"]


@pytest.mark.parametrize(("name", "options"), ALL)
def test_a_candidate_survives_its_encoding_and_its_text(name: str, options: dict[str, Any]) -> None:
    space = cm.search.space(name, **options)
    rng = np.random.default_rng(7)
    widths = set()
    for candidate in [space.sample(rng) for _ in range(20)]:
        assert candidate in space
        assert space.decode(space.encode(candidate)) == candidate
        assert space.parse(space.format(candidate)) == candidate
        assert {candidate: 1}[candidate] == 1
        widths.add(len(space.encode(candidate)))
    assert len(widths) == 1


@pytest.mark.parametrize("name", NAMES)
def test_drawing_is_repeatable_and_reaches_many(name: str) -> None:
    space = cm.search.space(name)
    assert space.sample(3) == space.sample(3)
    rng = np.random.default_rng(0)
    assert len({space.sample(rng) for _ in range(50)}) > 45


@pytest.mark.parametrize("name", NAMES)
def test_a_network_ends_in_classes_for_every_batch(name: str) -> None:
    space = cm.search.space(name)
    net = space.network(space.sample(1))
    (output,) = net.outputs.values()
    batch, classes = output.dims
    assert (batch, isinstance(classes, int), net.defaults["N"]) == (cm.Dim.size("N"), True, 1)
    fixed = space.network(space.sample(1), N=2)
    assert "N" not in fixed.sizes
    assert cm.count(fixed).at() == cm.count(net).at(N=2)


# the size of a space that can be counted on paper
SIZES = {
    "nasbench201": 5**6,
    "fbnet": 9**22,
    "ofa_mobilenet_v3": (9**2 + 9**3 + 9**4) ** 5 * 25,
    "iotnets_densenet": 31**5 * 60,
    "iotnets_pnasnet": 11**3 * 112 * 9,
    "iotnets_mobilenet_v2": (7 * 240 * 3) ** 7 * 35 * 112 * 1152,
    "iotnets_googlenet": 240 * (368 * 176 * 368 * 32 * 112 * 112) ** 9,
    "iotnets_resnext": 2**3 * sum(max(512 // width, 2) - 1 for width in range(4, 64)) ** 3,
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes(name: str) -> None:
    assert cm.search.space(name).size == SIZES[name]


@pytest.mark.parametrize("law", ["s3"])
def test_a_small_space_is_listed_whole_without_repeats(law: str) -> None:
    for name in ("iotnets_pnasnet", "iotnets_resnext"):
        space = cm.search.space(name, law=law)
        listed = list(space) if space.size < 10**5 else list(itertools.islice(space, 1000))
        assert len(set(listed)) == len(listed) == min(space.size, max(len(listed), 1000))
        assert all(candidate in space for candidate in listed[::17])


class Net(NamedTuple):
    depth: int
    width: int


def define(b: cm.Builder, candidate: Net) -> str:
    x = b.input("x", ("N", 3, "H", 8))
    for _ in range(candidate.depth):
        x = b.relu(b.conv(x, candidate.width, kernel=3, padding=1))
    return b.linear(b.flatten(b.global_average_pool(x)), 10)


MINE = Space("mine", Net, {"depth": Choice((1, 2)), "width": Choice((16, 32, 64))}, define)


def test_a_space_of_ones_own() -> None:
    assert list(MINE) == [Net(d, w) for d in (1, 2) for w in (16, 32, 64)]
    assert MINE.encode(Net(2, 64)).tolist() == [1, 2]
    assert MINE.parse('{"depth": 1, "width": 32}') == Net(1, 32)
    # by hand: a 3x3 filter over 3 channels for each of 32 filters and H * 8 places, and the linear layer
    assert cm.count(MINE.network(Net(1, 32), N=1)).at(H=4).macs == 27 * 32 * 4 * 8 + 320
    assert MINE.network(Net(1, 32), H=4).sizes.keys() == {"N"}


AXES = [
    (Choice((3, 5, 7)), 3),
    (Row((Choice("ab"), Choice((1, 2, 3)))), 6),
    (Several(Choice("abc"), (2,)), 9),
    (Several(Row((Choice("ab"), Choice((0, 1)))), (1, 3)), 4 + 64),
    (Then(Choice((1, 2, 3)), lambda most: Choice(range(most))), 6),
    (Several(Then(Choice((1, 2)), lambda most: Choice(range(most))), (0, 2)), 1 + 9),
]


@pytest.mark.parametrize(("axis", "size"), AXES, ids=[type(axis).__name__ for axis, _ in AXES])
def test_an_axis_lists_encodes_and_draws_all_its_values(axis: Any, size: int) -> None:
    values = list(axis)
    assert len(set(values)) == len(values) == axis.size == size
    codes = [tuple(axis.encode(value)) for value in values]
    assert len(set(codes)) == size
    assert {len(code) for code in codes} == {axis.width}
    assert [axis.decode(code, "here") for code in codes] == values
    rng = np.random.default_rng(0)
    assert {axis.sample(rng) for _ in range(100 * size)} == set(values)


FAULTS = [
    ("nasbench201", ("conv_5x5",) * 6, r"nasbench201: ops\[0\]: there is no choice 'conv_5x5'; did you mean 'nor_conv_3x3'"),
    ("nasbench201", ("none",) * 5, r"nasbench201: ops: .* has 5 parts, not 6"),
    ("nasbench201", ["none"] * 6, r"nasbench201: ops: .* must be a tuple of 6, not list"),
    ("jetson_nano_plain", (2, 64, 9, 80), r"jetson_nano_plain: kernel: there is no choice 9; the nearest is 4"),
    ("ofa_mobilenet_v3", ((((3, 6),) * 5,) * 5, 224), r"units\[0\]: .* has 5 parts, not 2 or 3 or 4"),
    ("ofa_mobilenet_v3", ((((3, 6), (4, 6)),) * 5, 224), r"units\[0\]\[1\]\[0\]: there is no choice 4; the nearest is 3"),
    ("ofa_mobilenet_v3", ((((3, 6),) * 2,) * 5, 225), r"resolution: there is no choice 225; the nearest is 224"),
    ("iotnets_resnext", ((1, 1, 1), ((4, 200),) * 3), r"bottlenecks\[0\]\[1\]: there is no choice 200; the nearest is 127"),
    ("fbnet", (("k3_e4",) * 22,), r"fbnet: ops\[0\]: there is no choice 'k3_e4'; did you mean 'k3_e"),
]


@pytest.mark.parametrize(("name", "parts", "message"), FAULTS)
def test_what_is_no_candidate_is_told_with_its_place(name: str, parts: Any, message: str) -> None:
    space = cm.search.space(name)
    candidate = space.record(parts) if len(space.axes) == 1 and name != "fbnet" else space.record(*parts)
    with pytest.raises(cm.InvalidChoice, match=message):
        space.network(candidate)
    with pytest.raises(cm.InvalidChoice, match=message):
        space.encode(candidate)
    assert candidate not in space


def test_other_faults_are_told() -> None:
    nas = cm.search.space("nasbench201")
    with pytest.raises(cm.InvalidChoice, match=r"nasbench201: a candidate is a Candidate\(ops\), not 'abc'"):
        nas.network("abc")
    with pytest.raises(cm.InvalidChoice, match="encoded as 6 numbers, not 5"):
        nas.decode([0] * 5)
    with pytest.raises(cm.InvalidChoice, match="7 numbers none of the 5 choices"):
        nas.decode([7] * 6)
    with pytest.raises(cm.ParseError, match=r"start from the nodes 1, .*write it as \|op~0\|"):
        nas.parse("|none~1|+|none~0|none~1|+|none~0|none~1|none~2|")
    with pytest.raises(cm.ParseError, match="does not name a candidate"):
        nas.parse("conv, conv, pool")
    with pytest.raises(cm.InvalidChoice, match="no search space 'nasbench'; did you mean 'nasbench201'"):
        cm.search.space("nasbench")
    with pytest.raises(cm.InvalidChoice, match="'fbnet' has no option 'class'; did you mean 'classes'"):
        cm.search.space("fbnet", **{"class": 10})
    with pytest.raises(cm.InvalidChoice, match="no task 'cifar10'; did you mean 'cifar'"):
        cm.search.space("fbnet", task="cifar10")
    with pytest.raises(cm.InvalidChoice, match="no law 's9'"):
        cm.search.space("iotnets_densenet", law="s9")
    with pytest.raises(cm.UnknownSize, match="size K=3: no input of network 'mine' has it"):
        MINE.network(Net(1, 16), K=3)
    with pytest.raises(cm.ParseError, match="exactly the fields depth, width"):
        MINE.parse('{"depth": 1}')


TEXTS = [
    ("jetson_nano_plain", "convnet_L2_F512_K3x4_W80", "3x4 is not square"),
    ("jetson_nano_mixed", "convnet_L6_F128_K1x1_3_K2x2_2_W80", "L6 is not the sum of 3 and 2"),
    ("jetson_nano_dws", "convnet_L5_F128_K2x2_W40", "another form"),
    ("iotnets_googlenet", '{"args": [[99, 16, 8, 17, 4, 7, 5], [44, 27, 12, 26, 4, 5, 6]]}', "the cell before gives"),
    ("iotnets_pnasnet", '{"args": {"cell_types": [1], "num_cells": [1, 1, 1], "num_planes": [16, 16, 16]}}', "type 0"),
    ("ofa_mobilenet_v3", '{"ks": [3], "e": [3], "d": [2], "r": 224}', "ks and e have 1 entries, d has 1"),
    ("fbnet", "k3_e1", "has 1 parts, not 22"),
]


@pytest.mark.parametrize(("name", "text", "message"), TEXTS)
def test_texts_that_name_no_candidate(name: str, text: str, message: str) -> None:
    with pytest.raises((cm.ParseError, cm.InvalidChoice), match=message):
        cm.search.space(name).parse(text)
