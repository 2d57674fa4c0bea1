"""The regressors, against scipy's general minimiser on the losses as the docstrings state them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import check_grad, minimize
from sklearn.base import clone

from costmodel.model import PooledCosts, fit_many, fit_relative

Array = NDArray[np.float64]
PLAIN = np.inf


def problem(seed: int, rows: int = 14, columns: int = 5, noise: float = 0.3) -> tuple[Array, Array]:
    """Work over many orders of magnitude, some of it absent, and times that no coefficients explain exactly."""
    rng = np.random.default_rng(seed)
    work = rng.lognormal(0, 1, (rows, columns)) * 10.0 ** rng.integers(-2, 9, columns) * (rng.random((rows, columns)) < 0.7)
    work[:, 0] = 1.0  # every network has something
    true = rng.lognormal(0, 1, columns) / (work.max(axis=0) + 1e-9) * (rng.random(columns) < 0.7)
    true[0] = 0.5
    return work, work @ true * np.exp(rng.normal(0, noise, rows))


# -- one device alone -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("huber", [PLAIN, 0.3, 0.1])
@pytest.mark.parametrize("seed", range(6))
def test_alone_has_the_least_loss(seed: int, huber: float) -> None:
    work, times = problem(seed)
    scale = work.max(axis=0).clip(1e-9)

    def loss(coefficients: Array) -> float:
        r = np.abs(work @ coefficients / times - 1)
        return float(np.where(r <= huber, r**2 / 2, 0 if huber == PLAIN else huber * (r - huber / 2)).sum())

    found = fit_relative(work, times, huber=huber, rounds=300)
    starts = (np.ones(5), found * scale, np.full(5, 0.1))
    runs = [minimize(lambda c: loss(c / scale), at, method="L-BFGS-B", bounds=[(0, None)] * 5) for at in starts]
    assert (found >= 0).all()
    assert loss(found) <= min(run.fun for run in runs) * (1 + 1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_known_costs_come_back(seed: int) -> None:
    work, _ = problem(seed, rows=20)
    true = np.array([0.2, 0.0, 3.0, 1.0, 0.4]) / work.max(axis=0)
    np.testing.assert_allclose(fit_relative(work, work @ true), true, rtol=1e-6, atol=1e-12 * true.max())


def test_slow_outliers_move_the_fit_less_than_least_squares() -> None:
    work, _ = problem(3, rows=30, noise=0)
    true = np.array([0.5, 1.0, 2.0, 1.0, 3.0]) / work.max(axis=0)
    times = work @ true
    times[::6] *= 4  # a fifth of the runs were throttled
    errors = [np.abs(work @ fit_relative(work, times, huber=huber) / (work @ true) - 1) for huber in (0.1, PLAIN)]
    assert np.median(errors[0]) < 0.02 < np.median(errors[1])


# -- devices together -------------------------------------------------------------------------------------------


def fleet(
    seed: int, devices: int = 4, rows: int = 12, columns: int = 4, own: float = 0.1, noise: float = 0.0
) -> tuple[Array, ...]:
    """Work, times and devices; every device has the common costs at its own speed, but for departures of its own."""
    rng = np.random.default_rng(seed)
    work = rng.lognormal(0, 1, (rows, columns)) * 10.0 ** np.arange(columns)
    common = rng.lognormal(0, 0.5, columns) / 10.0 ** np.arange(columns)
    costs = common * rng.lognormal(0, 1, (devices, 1)) * rng.lognormal(0, own, (devices, columns))
    times = np.concatenate([work @ cost for cost in costs]) * np.exp(rng.normal(0, noise, devices * rows))
    return np.tile(work, (devices, 1)), times, np.repeat(np.arange(devices), rows), costs


def prior(columns: int = 4) -> Array:
    return 10.0 ** -np.arange(columns)


def stated_loss(model: PooledCosts, work: Array, times: Array, devices: Array, flat: Array) -> float:
    """As the documentation states it, row by row."""
    count, columns = int(devices.max()) + 1, work.shape[1]
    common, speed, own = flat[:columns], flat[columns : columns + count], flat[columns + count :].reshape(count, columns)
    loss = 0.5 * np.sum(((common - np.log(model.prior)) / model.spread) ** 2) + 0.5 * np.sum((own / model.own_spread) ** 2)
    for row, time_s, device in zip(work, times, devices, strict=True):
        error = abs(np.log(row @ np.exp(speed[device] + common + own[device])) - np.log(time_s))
        huber = 0.5 * error**2 if error <= model.huber else model.huber * (error - 0.5 * model.huber)
        loss += huber / model.noise**2
    return float(loss)


@pytest.mark.parametrize("seed", range(3))
def test_together_has_the_least_of_the_stated_loss(seed: int) -> None:
    work, times, devices, _ = fleet(seed, devices=2, rows=6, columns=3, noise=0.2)
    model = PooledCosts(prior(3), noise=0.1, max_iter=2000).fit(work, times, devices)
    found = np.concatenate([model.common_, model.log_speed_, model.own_.ravel()])
    least = min(
        minimize(lambda flat: stated_loss(model, work, times, devices, flat), at, method="BFGS").fun
        for at in (found, found + np.random.default_rng(seed).normal(0, 0.3, len(found)))
    )
    assert stated_loss(model, work, times, devices, found) <= least * (1 + 1e-4) + 1e-6


def test_the_slope_is_that_of_the_loss() -> None:
    work, times, devices, _ = fleet(1, devices=2, rows=5, columns=3, noise=0.3)
    model = PooledCosts(prior(3))
    from costmodel.model import _checked

    rows = _checked(work, times, devices)
    at = np.log(np.tile(prior(3), 2)) + 0.1

    def loss(flat: Array) -> float:
        return model._loss(rows, np.exp(flat.reshape(2, 3)))[0]

    def slope(flat: Array) -> Array:
        return model._loss(rows, np.exp(flat.reshape(2, 3)))[1].ravel()

    assert check_grad(loss, slope, at) < 1e-3 * np.linalg.norm(slope(at))


@pytest.mark.parametrize("seed", range(4))
def test_common_costs_come_back_and_unseen_work_is_predicted(seed: int) -> None:
    work, times, devices, costs = fleet(seed)
    model = PooledCosts(prior()).fit(work, times, devices)
    unseen = np.random.default_rng(seed + 100).lognormal(0, 1, (5, 4)) * 10.0 ** np.arange(4)
    for device, cost in enumerate(costs):
        np.testing.assert_allclose(model.predict(unseen, [device] * 5), unseen @ cost, rtol=0.1)


def test_a_device_with_two_networks_takes_the_rest_from_the_others() -> None:
    work, times, devices, costs = fleet(7, devices=6, own=0.05)
    model = PooledCosts(prior()).fit(work, times, devices)
    new = costs[0] * 13
    adapted = model.adapt(work[:2], work[:2] @ new)
    np.testing.assert_allclose(work @ adapted, work @ new, rtol=0.2)
    np.testing.assert_allclose(work[:2] @ adapted, work[:2] @ new, rtol=0.02)


def test_units_and_speeds_cancel() -> None:
    work, times, devices, _ = fleet(3, noise=0.1)
    units = np.array([1.0, 1e3, 1e-6, 8.0])
    plain = PooledCosts(prior(), max_iter=2000).fit(work, times, devices)
    other = PooledCosts(prior() / units * 1e4, max_iter=2000).fit(work * units, times * 37, devices)
    np.testing.assert_allclose(other.coef_, plain.coef_ / units * 37, rtol=2e-2)


def test_the_order_of_rows_does_not_matter_and_a_start_changes_little() -> None:
    work, times, devices, _ = fleet(4, noise=0.1)
    model = PooledCosts(prior(), max_iter=2000)
    plain = clone(model).fit(work, times, devices)
    mixed = np.random.default_rng(0).permutation(len(times))
    np.testing.assert_allclose(clone(model).fit(work[mixed], times[mixed], devices[mixed]).coef_, plain.coef_, rtol=1e-2)
    np.testing.assert_allclose(clone(model).fit(work, times, devices, start=plain).coef_, plain.coef_, rtol=1e-2)


@pytest.mark.parametrize(
    ("work", "times", "devices", "told"),
    [
        ([[1.0], [2.0]], [1.0, 0.0], [0, 0], "times must be positive, the least is 0"),
        ([[1.0], [-2.0]], [1.0, 1.0], [0, 0], "work must not be negative, the least is -2"),
        ([[1.0], [np.nan]], [1.0, 1.0], [0, 0], "NaN"),
        ([[1.0], [2.0]], [1.0, 1.0], [0, 2], "devices must be numbered"),
        ([[1.0], [2.0]], [1.0], [0, 0], "inconsistent numbers of samples"),
    ],
)
def test_refuses(work: list[list[float]], times: list[float], devices: list[int], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        PooledCosts([1.0]).fit(work, times, devices)


def test_refuses_other_features_than_it_learnt() -> None:
    model = PooledCosts([1.0]).fit([[1.0], [2.0]], [1.0, 2.0], [0, 0])
    with pytest.raises(ValueError, match="X has 2 features, but PooledCosts is expecting 1"):
        model.predict([[1.0, 2.0]], [0])


# -- devices that have run hundreds of networks -----------------------------------------------------------------


def test_the_slope_of_students_loss() -> None:
    from costmodel.model import _checked

    work, times, devices, _ = fleet(2, devices=2, rows=5, columns=3, noise=0.3)
    model, rows = PooledCosts(prior(3), freedom=1.0, noise=0.05), _checked(work, times, devices)
    at = np.log(np.tile(prior(3), 2)) + 0.1

    def loss(flat: Array) -> float:
        found = model._loss(rows, np.exp(flat.reshape(2, 3)))[0]
        errors = np.log(np.einsum("rf,rf->r", np.exp(flat.reshape(2, 3))[devices], work)) - np.log(times)
        assert found == pytest.approx(float(np.log1p((errors / 0.05) ** 2).sum()))  # Cauchy's, up to a constant
        return found

    def slope(flat: Array) -> Array:
        return model._loss(rows, np.exp(flat.reshape(2, 3)))[1].ravel()

    assert check_grad(loss, slope, at) < 1e-3 * np.linalg.norm(slope(at))


@pytest.mark.parametrize("seed", range(3))
def test_odd_networks_do_not_steer(seed: int) -> None:
    """A tenth of the networks take five times what their work costs; the costs of the others come back."""
    work, times, devices, costs = fleet(seed, devices=3, rows=200, noise=0.03)
    odd = np.random.default_rng(seed).random(len(times)) < 0.1
    spread = np.ones(4)
    found = fit_many(prior(), work, np.where(odd, 5 * times, times), devices, spread, spread)
    unseen = np.random.default_rng(seed + 50).lognormal(0, 1, (40, 4)) * 10.0 ** np.arange(4)
    for device, cost in enumerate(costs):
        errors = np.abs(np.log(found.predict(unseen, [device] * 40) / (unseen @ cost)))
        assert np.median(errors) < 0.05


def test_starting_at_costs_gives_them_back() -> None:
    costs = np.array([[1.0, 0.2, 0.03], [5.0, 2.0, 0.1]])
    np.testing.assert_allclose(PooledCosts(prior(3)).starting_at(costs).coef_, costs)
    none = PooledCosts(prior(3)).starting_at(np.array([[1.0, 0.0, 0.01], [1.0, 0.1, 0.01]])).coef_
    assert 0 < none[0, 1] < 0.1 * none[1, 1]


def test_what_facts_make_expect_stands_in_for_what_is_common() -> None:
    """A device unlike the others, of which two of four costs are seen in its rows: the rest is as expected, at its speed."""
    work, times, devices, costs = fleet(5, devices=6, own=0.05)
    model = PooledCosts(prior()).fit(work, times, devices)
    unlike = costs[0] * [1.0, 1.0, 8.0, 8.0]
    rows = np.diag(10.0 ** np.arange(4))[:2]
    found = model.adapt(rows, rows @ (3 * unlike), expected=np.log(unlike))
    np.testing.assert_allclose(found, 3 * unlike, rtol=0.05)
    assert np.all(model.adapt(rows, rows @ (3 * unlike))[2:] < 0.3 * found[2:])
