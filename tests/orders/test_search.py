"""The best order, against all orders of small graphs."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import pytest

from costmodel.build import Builder
from costmodel.errors import InvalidChoice
from costmodel.graph import Network
from costmodel.orders.problem import Block, Problem, Step
from costmodel.orders.search import lower_bound, minimise
from costmodel.planning import memory
from costmodel.specs import zoo


def random_problem(seed: int) -> Problem:
    """Up to eight steps, each of which reads some blocks, makes up to two and may overwrite one or need scratch memory."""
    rng = random.Random(seed)
    blocks = [Block(rng.randint(0, 9), is_input=True) for _ in range(rng.randint(1, 2))]
    steps = []
    for _ in range(rng.randint(1, 8)):
        reads = tuple(rng.sample(range(len(blocks)), min(len(blocks), rng.randint(1, 3))))
        creates = tuple(range(len(blocks), len(blocks) + rng.choice([0, 1, 1, 1, 2])))
        size = blocks[reads[0]].nbytes if rng.random() < 0.4 else rng.randint(0, 9)
        blocks += [Block(size if i == 0 else rng.randint(0, 9), is_kept=rng.random() < 0.2) for i in range(len(creates))]
        overwrites = tuple(reads) if rng.random() < 0.5 else ()
        steps.append(Step(reads, creates, rng.choice([0, 0, 0, 5]), overwrites))
    return Problem(tuple(blocks), tuple(steps))


def orders(problem: Problem) -> Iterator[tuple[int, ...]]:
    """All orders in which the steps can run."""

    def extended(done: int, path: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if len(path) == len(problem.steps):
            yield path
        for i in range(len(problem.steps)):
            if not done >> i & 1 and not problem.before[i] & ~done:
                yield from extended(done | 1 << i, (*path, i))

    return extended(0, ())


@pytest.mark.parametrize("block", range(20))
def test_no_order_of_all_needs_less(block: int) -> None:
    for seed in range(block * 15, block * 15 + 15):
        problem = random_problem(seed)
        least = min(map(problem.peak_bytes, itertools.islice(orders(problem), 50_000)))
        found = minimise(problem)
        assert found.peak_bytes == problem.peak_bytes(found.steps) == least, seed
        assert found.is_optimal
        assert lower_bound(problem) <= least


@pytest.mark.parametrize("seed", range(40))
def test_without_the_states_for_a_proof_both_numbers_hold(seed: int) -> None:
    problem = random_problem(seed)
    least = min(map(problem.peak_bytes, itertools.islice(orders(problem), 50_000)))
    found = minimise(problem, budget=0)
    assert found.lower_bound_bytes <= least <= found.peak_bytes <= problem.peak_bytes()
    assert found.peak_bytes == problem.peak_bytes(found.steps)


# -- networks ---------------------------------------------------------------------------------------------------


def wired(seed: int, nodes: int = 14) -> Network:
    """A randomly wired cell: each node adds up some earlier ones and convolves, as in Xie et al. 2019 (arXiv 1904.01569)."""
    rng = random.Random(seed)
    b = Builder(f"wired{seed}")
    made = [b.input("x", (1, 16, 16, 16))]
    for _ in range(nodes):
        chosen = rng.sample(made[-6:], min(len(made[-6:]), rng.randint(1, 3)))
        mixed = chosen[0]
        for other in chosen[1:]:
            mixed = b.add(mixed, other)
        made.append(b.conv(b.relu(mixed), 16, kernel=3, padding=1))
    used = [x for x in made[1:] if rng.random() < 0.5] or made[-1:]
    return b.finish(b.concat(*used))


@pytest.mark.parametrize("seed", range(12))
def test_a_plan_in_the_best_order_keeps_its_word(seed: int) -> None:
    network = wired(seed)
    in_file, best = memory(network).at(), memory(network, order="best").at()
    assert best.peak_bytes <= in_file.peak_bytes
    assert best.lower_bound_bytes <= best.peak_bytes
    assert sorted(best.order) == sorted(in_file.order)
    assert memory(network, order=best.order).at().peak_bytes == best.peak_bytes


def test_a_cell_that_is_listed_breadth_first_gains() -> None:
    """Eight branches that widen and shrink, listed side by side: one after the other, a single wide tensor is alive."""
    b = Builder("branches")
    x = b.input("x", (1, 8, 16, 16))
    wide = [b.conv(x, 64) for _ in range(8)]
    network = b.finish(b.concat(*(b.conv(each, 2) for each in wide)))
    in_file, best = memory(network).at(), memory(network, order="best").at()
    x_bytes, wide_bytes, thin_bytes = 8 * 1024, 64 * 1024, 2 * 1024
    assert in_file.peak_bytes == x_bytes + 8 * wide_bytes
    assert best.peak_bytes == best.lower_bound_bytes == x_bytes + 7 * thin_bytes + wide_bytes


@pytest.mark.parametrize("name", ["googlenet", "inception_v3", "densenet121", "shufflenet_v2_x1_0", "nanodet_m"])
def test_networks_of_the_zoo_are_proven(name: str) -> None:
    best = memory(zoo(name), order="best").at()
    assert best.peak_bytes == best.lower_bound_bytes


def test_faults() -> None:
    b = Builder("fault")
    x = b.input("x", ("N", 4))
    network = b.finish(b.relu(b.linear(x, 4, name="first"), name="second"))
    assert memory(network, order=["first", "second"]).at(N=1).order == ("first", "second")
    for order, message in {
        ("second", "first"): "layer 'second' comes before layer 'first', whose tensor 'first' it reads",
        ("first",): "layer 'second' is missing; name each of the 2 layers",
        ("first", "first", "second"): "layer 'first' is there twice",
        ("first", "secnd"): "runs no layer 'secnd'; did you mean 'second'",
    }.items():
        with pytest.raises(InvalidChoice, match=message):
            memory(network, order=order)
    with pytest.raises(InvalidChoice, match="the best order depends on the sizes"):
        _ = memory(network, order="best").peak_bytes
    with pytest.raises(InvalidChoice, match="runs layers in the runtime's own order"):
        memory(network, planner="onnxruntime", order="best")
    assert memory(network, order="best").compile()(N=[1, 2]).tolist() == [32.0, 64.0]
