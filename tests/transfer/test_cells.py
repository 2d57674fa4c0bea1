"""Times of a space of cells: conditioning in the space of costs, evidence by scipy, habits of a source, chosen networks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import multivariate_normal, spearmanr

from costmodel.transfer.cells import CellTimes, _Linear

Array = NDArray[np.float64]
CELLS = np.array(list(itertools.product(range(3), repeat=5)))  # five edges; an op is 0, 1 or 2
COUNTS = np.column_stack([(CELLS == 1).sum(axis=1), (CELLS == 2).sum(axis=1)]).astype(float)
SHAPE = (CELLS[:, :, None] == np.arange(3)).reshape(len(CELLS), -1).astype(float)
LAZY = (CELLS[:, 0] == 0).astype(float)  # networks of which a runtime drops a part


def device(constant: float, costs: list[float], *, laziness: float = 0.0, noise: float = 0.0, seed: int = 0) -> Array:
    times = constant + COUNTS @ costs - laziness * LAZY
    found: Array = times * (1 + np.random.default_rng(seed).normal(0, noise, len(times)))
    return found


SOURCES = np.column_stack(
    [
        device(9, [1, 3], noise=0.03),
        device(5, [2, 3], noise=0.03, seed=1),
        device(6, [1, 2], laziness=4),
        device(20, [5, 5], noise=0.05, seed=2),
    ]
)


def test_a_linear_model_against_its_costs() -> None:
    """The posterior of the costs themselves (Bishop 2006, eq. 3.53 and 3.54), and the density of the measurements."""
    rng = np.random.default_rng(0)
    columns, rows, noise = rng.normal(0, 1, (9, 3)), [0, 3, 4, 7], 0.2
    values = rng.normal(0, 1, 4)
    few = columns[rows]
    covariance = np.linalg.inv(np.eye(3) + few.T @ few / noise**2)
    costs = covariance @ few.T @ values / noise**2
    mean, variance = _Linear(columns, rows, values, noise, 0.0).forecast()
    np.testing.assert_allclose(mean, columns @ costs)
    np.testing.assert_allclose(variance, np.diag(columns @ covariance @ columns.T) + noise**2)

    def density(noise: float) -> float:
        return float(multivariate_normal.logpdf(values, np.zeros(4), few @ few.T + noise**2 * np.eye(4)))

    evidence = [_Linear(columns, rows, values, noise, 0.0).log_evidence for noise in (0.2, 0.7)]
    assert evidence[0] - evidence[1] == pytest.approx(density(0.2) - density(0.7))


def test_the_habit_of_a_source_is_found() -> None:
    """A new device that drops what one of the sources drops, with noise in the others that is no habit."""
    truth, few = device(12, [3, 4], laziness=8), list(range(0, 243, 24))[:10]
    found = CellTimes().fit(COUNTS, SHAPE, SOURCES).predict(few, truth[few])
    without = CellTimes().fit(COUNTS, SHAPE, SOURCES[:, [0, 1, 3]]).predict(few, truth[few])
    assert spearmanr(found.time, truth).statistic > 0.995 > spearmanr(without.time, truth).statistic
    np.testing.assert_allclose(found.time, truth, rtol=0.1)


def test_deviations_tell_the_size_of_the_errors() -> None:
    model, scores = CellTimes().fit(COUNTS, SHAPE, SOURCES), []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        truth = device(10, [2, 3], noise=0.06, seed=100 + seed)
        few = rng.permutation(243)[:10].tolist()
        found = model.predict(few, truth[few])
        scores.append(np.delete(np.abs(found.time - truth) / found.deviation, few))
    assert 0.85 < (np.concatenate(scores) < 1.645).mean() < 0.97


def test_chosen_networks_tell_more_than_others() -> None:
    model, rng = CellTimes().fit(COUNTS, SHAPE, SOURCES), np.random.default_rng(0)
    truth = [device(8, [1, 2], noise=0.08, seed=seed) for seed in range(30)]
    chosen = model.choose(6, range(243))
    assert len(set(chosen)) == 6
    clean = device(8, [1, 2])

    def error(few: list[int]) -> float:
        return float(np.mean([np.abs(model.predict(few, times[few]).time / clean - 1).mean() for times in truth]))

    assert error(chosen) < np.mean([error(rng.permutation(243)[:6].tolist()) for _ in range(10)])


def test_candidates_are_kept_to() -> None:
    model = CellTimes().fit(COUNTS, SHAPE, SOURCES)
    assert set(model.choose(3, [200, 40, 7, 90])) <= {200, 40, 7, 90}


def test_what_is_refused() -> None:
    model = CellTimes()
    with pytest.raises(ValueError, match="times must be positive, the least is 0"):
        model.fit(COUNTS, SHAPE, SOURCES * 0)
    model.fit(COUNTS, SHAPE, SOURCES)
    with pytest.raises(ValueError, match="a positive time is needed"):
        model.predict([1, 2], [1.0, -1.0])
    with pytest.raises(ValueError, match="a positive time is needed"):
        model.predict([1, 2], [1.0])
    with pytest.raises(ValueError, match="3 networks cannot be chosen among 2"):
        model.choose(3, [1, 2])
