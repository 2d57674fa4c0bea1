"""Networks known from other devices: conditioning by another formula, filling, wild times, kin, choosing."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from costmodel.transfer import known as module
from costmodel.transfer.known import SPEED_VARIANCE, KnownNetworks, _Normal

Array = NDArray[np.float64]
NAN = float("nan")


def devices(count: int, networks: int, *, factors: int = 2, seed: int = 0, noise: float = 0.01) -> Array:
    """Log times of devices that differ in speed and in a few ways of being slow."""
    rng = np.random.default_rng(seed)
    profile, ways = rng.normal(0, 1, networks), np.random.default_rng(99).normal(0, 0.3, (factors, networks))
    times = rng.normal(0, 1, (count, 1)) + profile + rng.normal(0, 1, (count, factors)) @ ways
    return times + rng.normal(0, noise, times.shape)


def only(row: Array, seen: list[int]) -> Array:
    left = np.full_like(row, NAN)
    left[seen] = row[seen]
    return left


def normal(networks: int, seed: int) -> _Normal:
    rng = np.random.default_rng(seed)
    root = rng.normal(0, 1, (networks, networks))
    return _Normal(rng.normal(0, 1, networks), root @ root.T + 0.1 * np.eye(networks))


@pytest.mark.parametrize("seen", [[0], [3, 1], [0, 2, 5]])
def test_conditioning_by_the_precision_matrix(seen: list[int]) -> None:
    """The unseen part given measurements with errors, by the blocks of the inverse covariance (Bishop 2006, eq. 2.75)."""
    prior, variances = normal(6, 1), np.linspace(0.01, 0.3, len(seen))
    values = np.arange(len(seen), dtype=float)
    across = prior.covariance[:, seen]
    joint = np.block([[prior.covariance, across], [across.T, across[seen] + np.diag(variances)]])
    precision = np.linalg.inv(joint)
    asked = np.linalg.inv(precision[:6, :6])
    expected = prior.mean - asked @ precision[:6, 6:] @ (values - prior.mean[seen])
    found = prior.given(np.array(seen), values, variances)
    np.testing.assert_allclose(found.mean, expected)
    np.testing.assert_allclose(found.covariance, asked, atol=1e-9)


def test_a_forecast_from_one_network_by_hand() -> None:
    """Without the weighing of devices: the mean and a multiple of the covariance of all, conditioned on one number."""
    model = KnownNetworks(local=0.0, shrinkage=1.0, reach=1e6).fit(devices(30, 5))
    mean = (model.profiles_ - model.profiles_[:, [2]]).mean(axis=0) + 1.5  # all devices brought to the speed of the new one
    covariance = model.covariance_ + SPEED_VARIANCE
    slope = covariance[:, 2] / (covariance[2, 2] + model.noise**2)
    found = model.condition(only(np.full(5, 1.5), [2]))
    np.testing.assert_allclose(found.log_time, mean + slope * (1.5 - mean[2]))
    np.testing.assert_allclose(found.deviation**2, np.diag(covariance) - slope * covariance[2] + model.noise**2)


def test_the_covariance_of_complete_tables_is_that_of_the_sample() -> None:
    times = devices(400, 4, noise=0.0)
    model = KnownNetworks(noise=1e-3).fit(times)
    np.testing.assert_allclose(model.mean_, times.mean(axis=0), atol=0.01)
    np.testing.assert_allclose(model.covariance_, np.cov(times, rowvar=False), rtol=0.03, atol=0.02)


def test_what_was_not_measured_is_filled_in() -> None:
    times = devices(60, 12)
    holes = np.random.default_rng(3).random(times.shape) < 0.3
    profiles = KnownNetworks().fit(np.where(holes, NAN, times)).profiles_
    by_speed = times.mean(axis=0) + (times - times.mean(axis=0)).mean(axis=1, keepdims=True)
    errors = np.abs(profiles - times)[holes]
    assert np.median(errors) < 0.05 < np.median(np.abs(by_speed - times)[holes])


def test_a_new_device_from_a_few_networks() -> None:
    times = devices(80, 15)
    model, new = KnownNetworks().fit(times[10:]), times[:10]
    errors = [np.abs(model.condition(only(row, [0, 4, 8, 12])).log_time - row).mean() for row in new]
    plain = [np.abs(model.mean_ - model.mean_[[0, 4, 8, 12]].mean() + row[[0, 4, 8, 12]].mean() - row).mean() for row in new]
    assert np.mean(errors) < 0.5 * np.mean(plain)


def test_a_wild_measurement_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    times = devices(80, 15)
    model, seen = KnownNetworks().fit(times[1:]), [0, 2, 4, 6, 8, 10, 12]
    wild = only(times[0], seen)
    wild[4] += 1.5
    unseen = [i for i in range(15) if i not in seen]

    def error() -> float:
        return float(np.abs(model.condition(wild).log_time - times[0])[unseen].mean())

    robust = error()
    monkeypatch.setattr(module, "DEGREES", 1e9)  # errors as a normal distribution has them
    assert robust < 0.1
    assert error() > 2 * robust


def test_kin_speak_louder() -> None:
    """Two clans with opposite profiles; one network tells nothing but the speed."""
    profile = np.array([0.0, 1.0, -1.0, 0.5])
    clans = np.repeat([1.0, -1.0], 10)
    model = KnownNetworks().fit(clans[:, None] * profile + np.random.default_rng(0).normal(0, 0.02, (20, 4)))
    for clan in (1.0, -1.0):
        found = model.condition(only(profile * clan + 3, [0]), (clans == clan).astype(float))
        np.testing.assert_allclose(found.log_time, profile * clan + 3, atol=0.05)


def test_the_first_choice_takes_most_from_the_variance() -> None:
    model = KnownNetworks().fit(devices(50, 8))
    prior = model._prior(None, np.empty(0, dtype=int), np.empty(0))
    left = [np.trace(prior.given(np.array([i]), np.zeros(1), np.array([model.noise**2])).covariance) for i in range(8)]
    assert model.choose(1) == [int(np.argmin(left))]
    chosen = model.choose(4, among=[7, 5, 3, 2, 0])
    assert len(set(chosen)) == 4
    assert set(chosen) <= {7, 5, 3, 2, 0}


def test_chosen_networks_tell_more_than_others() -> None:
    times = devices(120, 20, factors=4)
    model, rng = KnownNetworks().fit(times[60:]), np.random.default_rng(0)

    def error(seen: list[int]) -> float:
        return float(np.mean([np.abs(model.condition(only(row, seen)).log_time - row).mean() for row in times[:60]]))

    at_random = [error(rng.permutation(20)[:5].tolist()) for _ in range(8)]
    assert error(model.choose(5)) < np.mean(at_random)


def test_the_state_is_json() -> None:
    times = devices(20, 5)
    model = KnownNetworks(kin=3.0).fit(times)
    again = KnownNetworks.from_dict(json.loads(json.dumps(model.to_dict())))
    asked = only(times[0], [1, 3])
    np.testing.assert_array_equal(again.condition(asked).log_time, model.condition(asked).log_time)
    assert again.kin == 3.0


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([[1.0, NAN], [2.0, NAN]], "network 1 has no time"),
        ([[1.0, 2.0], [NAN, NAN]], "device 1 has no time"),
        ([[1.0, np.inf], [2.0, 1.0]], "a table of finite log times"),
        ([1.0, 2.0], "devices by networks"),
    ],
)
def test_tables_that_cannot_be_fitted(times: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KnownNetworks().fit(times)


def test_questions_that_cannot_be_answered() -> None:
    model = KnownNetworks().fit(devices(10, 3))
    with pytest.raises(ValueError, match="no network was measured"):
        model.condition([NAN, NAN, NAN])
    with pytest.raises(ValueError, match="log times of 3 networks are expected"):
        model.condition([1.0, NAN])
    with pytest.raises(ValueError, match="4 networks cannot be chosen among 3"):
        model.choose(4)
