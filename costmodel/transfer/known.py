"""Times of networks that other devices have run, on a device that ran only a few of them.

The log times of a device are a draw from a normal distribution over networks; its mean and covariance come from the other
devices, by expectation maximisation where each has run some networks only (Dempster, Laird and Rubin 1977). A wild
measurement is found by its distance from what the device's others expect, and its own variance grows with it, as an error
with Student's distribution asks for (Lange, Little and Taylor 1989).

A new device is not like all others. So each of them is weighed: by its kinship, which tells whether core, precision and
threads are the same, and by how its profile (log times up to a common speed) agrees with the few networks. The weighted
devices give the mean and most of the covariance that the few networks then condition, as in kriging.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

Array = NDArray[np.float64]
Index = NDArray[np.intp]

DEGREES = 4.0  # of freedom of the measurements' errors: a few in a hundred are wild
SPEED_VARIANCE = 0.5  # of a device's log speed about what its few networks say beside the others' profiles
PRIOR_VARIANCE = 4.0  # of log times before any device is seen: a thousandfold between slow and fast
LEAST_VARIANCE = 0.004  # of a network about what all others say, for one device
FARTHEST = 0.5  # in log time: a network that differs more speaks no louder against a device


@dataclass(frozen=True, slots=True)
class Forecast:
    """Log times of all networks on a device, and their standard deviations."""

    log_time: Array
    deviation: Array


class KnownNetworks(BaseEstimator):  # type: ignore[misc]
    """Log times on a new device from a few measured networks and the times of all networks on other devices.

    Parameters
    ----------
    noise : float
        Standard deviation of one measurement in log time.
    reach : float
        Another device's weight falls by exp(-1/2) where its profile is so far from the few networks, in log time.
    kin : float
        The factor between a device that is like the new one and one that is not is exp(kin).
    local : float
        The part of the covariance that comes from the weighted devices; the rest is of all.
    shrinkage : float
        Factor on the covariance of all devices within that rest.
    rounds : int
        Of expectation maximisation.

    Attributes
    ----------
    mean_ : array of shape (n_networks,), covariance_ : array of shape (n_networks, n_networks)
    profiles_ : array of shape (n_devices, n_networks)
        Log times of the devices, where not measured as the others make expect.

    >>> speeds, profile = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0.0, 0.5, 1.0, 3.0])
    >>> known = KnownNetworks().fit(speeds + profile)
    >>> known.condition([9.0, float("nan"), float("nan"), float("nan")]).log_time.round(1)
    array([ 9. ,  9.5, 10. , 12. ])

    """

    def __init__(
        self,
        *,
        noise: float = 0.03,
        reach: float = 0.26,
        kin: float = 8.0,
        local: float = 0.8,
        shrinkage: float = 0.1,
        rounds: int = 20,
    ) -> None:
        self.noise = noise
        self.reach = reach
        self.kin = kin
        self.local = local
        self.shrinkage = shrinkage
        self.rounds = rounds

    def fit(self, X: ArrayLike, y: None = None) -> KnownNetworks:  # noqa: N803, ARG002
        """Fit on the log times of networks (columns) on devices (rows), NaN where a device has not run a network.

        Raises ValueError for an infinite time, and for a device or a network without any time.
        """
        times = _checked(X)
        observed = [np.flatnonzero(~np.isnan(row)) for row in times]
        variances = [np.full(len(seen), self.noise**2) for seen in observed]
        mean = np.nanmedian(times - np.nanmedian(times, axis=1, keepdims=True), axis=0)
        covariance = PRIOR_VARIANCE * (1 + np.eye(len(mean)) / 80)
        for _ in range(self.rounds):
            profiles, spread = np.empty_like(times), LEAST_VARIANCE * np.eye(len(mean))
            for i, (seen, row) in enumerate(zip(observed, times, strict=True)):
                prior = _Normal(mean, covariance)
                variances[i] = prior.variances(seen, row[seen], variances[i], self.noise)
                posterior = prior.given(seen, row[seen], variances[i])
                profiles[i] = posterior.mean
                spread += posterior.covariance
            mean = profiles.mean(axis=0)
            covariance = ((profiles - mean).T @ (profiles - mean) + spread) / (len(times) + 1)
        self.mean_, self.covariance_, self.profiles_ = mean, covariance, profiles
        self.n_features_in_ = len(mean)
        return self

    def condition(self, y: ArrayLike, kinship: ArrayLike | None = None) -> Forecast:
        """The log times of all networks on a new device, given those of a few (NaN for the others).

        ``kinship``: how like the new device each device of the fit is, from 0 to 1. Raises ValueError where nothing is
        measured, or for a wrong number of networks.
        """
        check_is_fitted(self)
        times = np.asarray(y, dtype=np.float64)
        if times.shape != (self.n_features_in_,):
            raise ValueError(f"y has the shape {times.shape}; log times of {self.n_features_in_} networks are expected")
        seen = np.flatnonzero(~np.isnan(times))
        if not len(seen):
            raise ValueError("no network was measured; give the log time of at least one")
        prior = self._prior(kinship, seen, times[seen])
        variances = np.full(len(seen), self.noise**2)
        for _ in range(8 if len(seen) > 1 else 0):
            variances = (variances + prior.variances(seen, times[seen], variances, self.noise)) / 2
        posterior = prior.given(seen, times[seen], variances)
        return Forecast(posterior.mean, np.sqrt(np.diag(posterior.covariance) + self.noise**2))

    def choose(self, count: int, kinship: ArrayLike | None = None, among: Sequence[int] | None = None) -> list[int]:
        """The networks to measure, of which each next one takes most from the variance of all (no time is looked at).

        Raises ValueError for more networks than there are.
        """
        check_is_fitted(self)
        candidates = list(range(self.n_features_in_)) if among is None else list(among)
        if count > len(candidates):
            raise ValueError(f"{count} networks cannot be chosen among {len(candidates)}")
        prior, chosen = self._prior(kinship, np.empty(0, dtype=np.intp), np.empty(0)), []
        for _ in range(count):
            left = [i for i in candidates if i not in chosen]
            covariance = prior.covariance
            gains = (covariance[left] ** 2).sum(axis=1) / (np.diag(covariance)[left] + self.noise**2)
            chosen.append(left[int(gains.argmax())])
            last = np.array(chosen[-1:])
            prior = prior.given(last, prior.mean[last], np.array([self.noise**2]))
        return chosen

    def _prior(self, kinship: ArrayLike | None, seen: Index, times: Array) -> _Normal:
        """What is expected of the new device, from the devices that are like it, at the speed of the few networks."""
        gaps = self.profiles_[:, seen] - times if len(seen) else self.profiles_ - self.mean_
        speeds = np.median(gaps, axis=1, keepdims=True)
        off = np.minimum(np.abs(gaps - speeds), FARTHEST) if len(seen) else np.zeros((len(gaps), 1))
        weight = -0.5 * (off**2).sum(axis=1) / self.reach**2
        if kinship is not None:
            weight = weight + self.kin * np.asarray(kinship, dtype=np.float64)
        share = np.exp(weight - weight.max())
        share /= share.sum()
        profiles = self.profiles_ - speeds
        mean = share @ profiles
        near = (profiles - mean).T @ ((profiles - mean) * share[:, None])
        far = self.shrinkage * self.covariance_
        return _Normal(mean, self.local * near + (1 - self.local) * far + SPEED_VARIANCE)

    def to_dict(self) -> dict[str, Any]:
        """The fitted state, JSON-able."""
        check_is_fitted(self)
        return {
            "params": self.get_params(),
            "mean": self.mean_.tolist(),
            "covariance": self.covariance_.tolist(),
            "profiles": self.profiles_.tolist(),
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> KnownNetworks:
        """The estimator whose state ``to_dict`` gave."""
        found = cls(**state["params"])
        found.mean_, found.covariance_, found.profiles_ = (
            np.array(state[name], dtype=np.float64) for name in ("mean", "covariance", "profiles")
        )
        found.n_features_in_ = len(found.mean_)
        return found


@dataclass(frozen=True, eq=False)
class _Normal:
    """A normal distribution over networks."""

    mean: Array
    covariance: Array

    def given(self, seen: Index, values: Array, variances: Array) -> _Normal:
        """What is left to expect when some are measured with errors of these variances."""
        across = self.covariance[:, seen]
        gain = np.linalg.solve(across[seen] + np.diag(variances), across.T).T
        return _Normal(self.mean + gain @ (values - self.mean[seen]), self.covariance - gain @ across.T)

    def variances(self, seen: Index, values: Array, variances: Array, noise: float) -> Array:
        """The variance of each measurement's own error: the noise, and more where the others expect another value."""
        precision = np.linalg.inv(self.covariance[np.ix_(seen, seen)] + np.diag(variances))
        gaps = precision @ (values - self.mean[seen]) / np.diag(precision)
        usual = np.maximum(1 / np.diag(precision) - variances, 0) + noise**2
        weights = (DEGREES + 1) / (DEGREES + gaps**2 / usual)
        excess: Array = noise**2 + np.maximum(1 / weights - 1, 0) * usual
        return excess


def _checked(X: ArrayLike) -> Array:  # noqa: N803
    times = np.asarray(X, dtype=np.float64)
    if times.ndim != 2 or np.isinf(times).any():
        raise ValueError("X must be a table of finite log times, devices by networks, NaN where not measured")
    for axis, what in ((1, "device"), (0, "network")):
        empty = np.flatnonzero(np.isnan(times).all(axis=axis))
        if len(empty):
            raise ValueError(f"{what} {empty[0]} has no time; leave it out")
    return times
