"""The regressor, against scipy's general minimiser on the loss as the docstrings state it, and scikit-learn's own checks."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.model_selection import cross_val_predict
from sklearn.utils.estimator_checks import check_estimator

from costmodel.model import NonNegativeRegression, fit_relative

Array = NDArray[np.float64]
Loss = Callable[[Array], float]
PLAIN = np.inf


def problem(seed: int, rows: int = 14, columns: int = 5, noise: float = 0.3) -> tuple[Array, Array]:
    """Work over many orders of magnitude, some of it absent, and times that no coefficients explain exactly."""
    rng = np.random.default_rng(seed)
    work = rng.lognormal(0, 1, (rows, columns)) * 10.0 ** rng.integers(-2, 9, columns) * (rng.random((rows, columns)) < 0.7)
    work[:, 0] = 1.0  # every network has something
    true = rng.lognormal(0, 1, columns) / (work.max(axis=0) + 1e-9) * (rng.random(columns) < 0.7)
    true[0] = 0.5
    return work, work @ true * np.exp(rng.normal(0, noise, rows))


def residuals(work: Array, times: Array, coefficients: Array) -> Array:
    result: Array = work @ coefficients / times - 1
    return result


def huber_loss(work: Array, times: Array, huber: float) -> Loss:
    def loss(coefficients: Array) -> float:
        r = np.abs(residuals(work, times, coefficients))
        return float(np.where(r <= huber, r**2 / 2, 0 if huber == PLAIN else huber * (r - huber / 2)).sum())

    return loss


def pull_loss(work: Array, times: Array, prior: Array, strength: float) -> Loss:
    """The prior at the device's speed: at which its median relative prediction is 1."""
    target = prior / np.median(work @ prior / times)

    def loss(coefficients: Array) -> float:
        known = target > 0
        return float(strength**2 / 2 * (((coefficients / np.where(known, target, 1) - known) ** 2).sum()))

    return loss


def least(loss: Loss, start: Array) -> float:
    """The least loss over non-negative coefficients that scipy finds, with the coefficients of one size."""
    size = np.where(start > 0, start, 1.0)
    starts = (np.ones_like(start), start / size, np.full_like(start, 0.1))
    runs = [
        minimize(lambda c: loss(c * size), at, method="L-BFGS-B", bounds=[(0, None)] * len(start), options={"maxiter": 5000})
        for at in starts
    ]
    return float(min(run.fun for run in runs))


@pytest.mark.parametrize("huber", [PLAIN, 0.3, 0.1])
@pytest.mark.parametrize("seed", range(6))
def test_has_the_least_loss(seed: int, huber: float) -> None:
    work, times = problem(seed)
    scale = work.max(axis=0).clip(1e-9)
    found = fit_relative(work, times, huber=huber, rounds=300)
    loss = huber_loss(work, times, huber)
    assert (found >= 0).all()
    assert loss(found) <= least(lambda c: loss(c / scale), found * scale) * (1 + 1e-6)


@pytest.mark.parametrize("strength", [0.03, 0.3, 3.0])
@pytest.mark.parametrize("seed", range(6))
def test_has_the_least_loss_beside_a_prior(seed: int, strength: float) -> None:
    work, times = problem(seed, rows=6)
    rng = np.random.default_rng(seed)
    scale = work.max(axis=0).clip(1e-9)
    prior = rng.lognormal(0, 1, work.shape[1]) / scale * (rng.random(work.shape[1]) < 0.8)
    prior[0] = 1.0
    found = fit_relative(work, times, prior, strength=strength, huber=PLAIN, rounds=1)
    # the pull is stated over coefficients of one size: each column divided by its largest relative work
    size = np.where((work / times[:, None]).max(axis=0) > 0, (work / times[:, None]).max(axis=0), 1.0)
    data, pull = huber_loss(work, times, PLAIN), pull_loss(work / size, times, prior * size, strength)

    def loss(c: Array) -> float:
        return data(c / size) + pull(c)

    assert loss(found * size) <= least(loss, found * size) * (1 + 1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_known_costs_come_back(seed: int) -> None:
    work, _ = problem(seed, rows=20)
    true = np.array([0.2, 0.0, 3.0, 1.0, 0.4]) / work.max(axis=0)
    np.testing.assert_allclose(fit_relative(work, work @ true), true, rtol=1e-6, atol=1e-12 * true.max())


@pytest.mark.parametrize("seed", range(4))
def test_units_and_speeds_cancel(seed: int) -> None:
    work, times = problem(seed)
    prior = 1 / work.max(axis=0).clip(1e-9)
    units, speed = np.array([1.0, 1e3, 1e-6, 8.0, 0.5]), 37.0
    found = fit_relative(work, times, prior)
    np.testing.assert_allclose(fit_relative(work * units, times * speed, prior / units), found / units * speed, rtol=1e-6)
    np.testing.assert_allclose(fit_relative(work, times, prior * 1e6), found, rtol=1e-6)


def test_slow_outliers_move_the_fit_less_than_least_squares() -> None:
    work, _ = problem(3, rows=30, noise=0)
    true = np.array([0.5, 1.0, 2.0, 1.0, 3.0]) / work.max(axis=0)
    times = work @ true
    times[::6] *= 4  # a fifth of the runs were throttled
    errors = [np.abs(residuals(work, work @ true, fit_relative(work, times, huber=h))) for h in (0.1, PLAIN)]
    assert np.median(errors[0]) < 0.02 < np.median(errors[1])


def test_the_prior_decides_what_the_data_leave_open() -> None:
    """Two kinds of work always in equal parts: the prior says that one costs three times the other."""
    work = np.array([[1.0, 1.0], [2.0, 2.0], [5.0, 5.0]])
    found = fit_relative(work, 8.0 * work[:, 0], np.array([1.0, 3.0]), strength=0.01)
    np.testing.assert_allclose(found, [2.0, 6.0], rtol=1e-6)


def test_a_feature_that_the_prior_gives_no_cost_is_drawn_to_none() -> None:
    work = np.array([[1.0, 1.0], [2.0, 2.0], [5.0, 5.0]])
    np.testing.assert_allclose(fit_relative(work, work[:, 0], np.array([1.0, 0.0]), strength=0.01), [1, 0], atol=1e-9)


def test_work_that_no_network_has_costs_nothing_without_a_prior() -> None:
    work = np.array([[1.0, 0.0], [2.0, 0.0]])
    np.testing.assert_allclose(fit_relative(work, np.array([3.0, 6.0])), [3, 0])


# -- as an estimator --------------------------------------------------------------------------------------------


def test_scikit_learn_accepts_it() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it tells what it skips
        results = check_estimator(NonNegativeRegression(), on_fail=None)
    assert [result["check_name"] for result in results if result["status"] == "failed"] == []
    assert sum(result["status"] == "passed" for result in results) > 40


def test_the_estimator_is_the_function() -> None:
    work, times = problem(1)
    prior = 1 / work.max(axis=0)
    options = {"strength": 0.2, "huber": 0.1, "rounds": 7}
    model = NonNegativeRegression(prior, **options).fit(work, times)
    np.testing.assert_array_equal(model.coef_, fit_relative(work, times, prior, **options))
    np.testing.assert_array_equal(model.predict(work), work @ model.coef_)


def test_runs_in_cross_validation() -> None:
    work, _ = problem(5, rows=30)
    times = work @ (np.array([1.0, 2.0, 3.0, 4.0, 5.0]) / work.max(axis=0))
    np.testing.assert_allclose(cross_val_predict(NonNegativeRegression(), work, times, cv=5), times, rtol=1e-6)


@pytest.mark.parametrize(
    ("work", "times", "told"),
    [
        ([[1.0], [2.0]], [1.0, 0.0], "times must be positive, the least is 0"),
        ([[1.0], [2.0]], [1.0, -3.0], "times must be positive, the least is -3"),
        ([[1.0], [-2.0]], [1.0, 1.0], "Negative values in data passed to NonNegativeRegression"),
        ([[1.0], [np.nan]], [1.0, 1.0], "NaN"),
        ([[1.0], [2.0]], [1.0, np.inf], "infinity"),
    ],
)
def test_refuses(work: list[list[float]], times: list[float], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        NonNegativeRegression().fit(work, times)


def test_refuses_other_features_than_it_learnt() -> None:
    model = NonNegativeRegression().fit([[1.0], [2.0]], [1.0, 2.0])
    with pytest.raises(ValueError, match="X has 2 features, but NonNegativeRegression is expecting 1"):
        model.predict([[1.0, 2.0]])
