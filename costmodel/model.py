"""The regressor: what many devices take for each unit of work, fitted together.

Time is a sum over kernels of work divided by speed, so every coefficient is a time per unit of work and is positive. On
device d, feature f costs::

    cost[d, f] = exp(speed[d] + common[f] + own[d, f])

``common`` is what all devices of a kind share, drawn towards orders of magnitude; ``own`` is how a device departs from it,
drawn towards 0. So a cost that few of a device's networks tell comes from the other devices, and with a handful of measured
networks most do. The fit is the mode of the posterior under these two normal priors and a Huber loss of the error in log
time, where 10 % weigh the same for a network of 5 ms and for one of 5 s.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize, nnls
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_array, check_consistent_length, check_is_fitted, column_or_1d

Array = NDArray[np.float64]
Index = NDArray[np.intp]

# of devices with hundreds of networks: what is odd (relative), what is typical (in log time), how much wider the priors are;
# chosen on one half of timm's families, with the rest of them to fit on
ODD, TYPICAL, WIDER = 0.1, 0.03, 5.0
EXPECTED = 0.5  # of the spread of own departures, where facts tell what to expect: chosen on one half of ncnn's devices
FAR_BELOW = 4.0  # in log: a cost of which nothing is seen, on the scale of the others
UNSEEN = 1e-30  # of work: keeps the logarithm of a time finite where a network has none of what is costed


def fit_relative(work: Array, times: Array, *, huber: float = 0.3, rounds: int = 4) -> Array:
    """The non-negative coefficients of least relative error, for one device alone: the plain baseline.

    Relative residuals beyond ``huber`` count linearly, by as many ``rounds`` of reweighting.

    >>> X = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 2.0]])
    >>> fit_relative(X, X @ [3.0, 0.5]).round(6)
    array([3. , 0.5])
    """
    rows = work / times[:, None]
    scale = rows.max(axis=0)
    scale[scale <= 0] = 1.0
    rows = rows / scale
    weights = np.ones(len(rows))
    coefficients = np.zeros(rows.shape[1])
    for _ in range(max(1, rounds)):
        coefficients = nnls(rows * weights[:, None], weights, maxiter=10 * rows.shape[1] + 100)[0]
        weights = np.sqrt(np.minimum(1.0, huber / np.maximum(np.abs(rows @ coefficients - 1.0), 1e-12)))
    result: Array = coefficients / scale
    return result


def fit_many(prior: ArrayLike, work: Array, times: Array, device: Index, spread: Array, own_spread: Array) -> PooledCosts:
    """Costs of devices that have run hundreds of networks each: their own say more than what is common.

    The mean of two fits: each device alone for the least relative error, and all together from there on, with priors wide
    enough to leave the data alone and with Student's t for the errors, so that odd networks do not steer.
    """
    parts = [(work[device == number], times[device == number]) for number in range(int(device.max()) + 1)]
    alone = np.array([fit_relative(rows, measured, huber=ODD, rounds=10) for rows, measured in parts])
    model = PooledCosts(
        prior, spread=WIDER * spread, own_spread=WIDER * own_spread, noise=TYPICAL, freedom=1.0, max_iter=1000
    )
    model.fit(work, times, device, start=PooledCosts(prior).starting_at(alone))
    common, speed, own = model.fitted_
    model.fitted_ = common, speed, own + np.log(0.5 + 0.5 * alone / model.coef_)
    return model


@dataclass(frozen=True, eq=False)
class _Rows:
    """Measured rows, those of a device together."""

    work: Array
    log_times: Array
    device: Index

    @cached_property
    def starts(self) -> Index:
        """Where each device's rows start."""
        return np.flatnonzero(np.diff(self.device, prepend=-1))

    def errors(self, costs: Array) -> tuple[Array, Array]:
        """log(predicted / measured) of every row, and the predicted times."""
        predicted = np.einsum("rf,rf->r", costs[self.device], self.work) + UNSEEN
        return np.log(predicted) - self.log_times, predicted

    def gradient(self, slope: Array, predicted: Array, costs: Array) -> Array:
        """Of a sum over rows in the logarithm of each device's costs, from its slope in each row's log error."""
        summed: Array = np.add.reduceat(self.work * (slope / predicted)[:, None], self.starts) * costs
        return summed


class PooledCosts(BaseEstimator):  # type: ignore[misc]
    """Costs of units of work on devices of a kind, fitted together.

    Parameters
    ----------
    prior : array of shape (n_features,)
        Orders of magnitude of the costs, up to a common factor.
    spread : float or array of shape (n_features,)
        Standard deviation of ``common`` about the logarithm of the prior.
    own_spread : float or array of shape (n_features,)
        Standard deviation of a device's own departure from what is common.
    noise : float
        Error in log time that one standard deviation of either prior weighs as much as.
    huber : float
        Errors in log time beyond this count linearly.
    freedom : float or None
        Degrees of freedom of Student's t in place of the Huber loss, with ``noise`` for its scale: large errors then hardly
        count (Lange, Little and Taylor 1989). For devices with so many networks that some are bound to be odd.
    max_iter : int
        Iterations of L-BFGS (Liu and Nocedal 1989).

    Attributes
    ----------
    common_ : array of shape (n_features,), log_speed_ : array of shape (n_devices,),
    own_ : array of shape (n_devices, n_features)

    >>> work, devices = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 2.0]] * 2), [0, 0, 0, 1, 1, 1]
    >>> times = work @ [3.0, 0.5] * [1, 1, 1, 10, 10, 10]
    >>> pooled = PooledCosts([1.0, 1.0], noise=0.01).fit(work, times, devices)
    >>> pooled.predict(work[:3], [1, 1, 1]).round(1)
    array([30., 10., 40.])

    """

    def __init__(
        self,
        prior: ArrayLike,
        *,
        spread: ArrayLike = 1.0,
        own_spread: ArrayLike = 1.0,
        noise: float = 0.1,
        huber: float = 0.15,
        freedom: float | None = None,
        max_iter: int = 300,
    ) -> None:
        self.prior = prior
        self.spread = spread
        self.own_spread = own_spread
        self.noise = noise
        self.huber = huber
        self.freedom = freedom
        self.max_iter = max_iter

    def fit(self, X: ArrayLike, y: ArrayLike, devices: ArrayLike, *, start: PooledCosts | None = None) -> PooledCosts:  # noqa: N803
        """Fit on rows of work and their times, each on the device of this number (0, 1, ...).

        ``start``: a fit of the same devices from which to set out, which saves iterations. Raises ValueError for times
        that are not positive, negative work, and a device without rows.
        """
        rows = _checked(X, y, devices)
        prior = np.log(np.asarray(self.prior, dtype=np.float64))
        spread, own_spread = self._spreads()
        count = len(rows.starts)
        common, log_speed, own = prior, _log_speeds(rows, prior), np.zeros((count, len(prior)))
        if start is not None:
            check_is_fitted(start)
            common, log_speed, own = start.fitted_

        def objective(flat: Array) -> tuple[float, Array]:
            common, log_speed, own = _unpacked(flat, count)
            loss, slope = self._loss(rows, _exp(log_speed[:, None] + common + own))
            departure = (common - prior) / spread
            loss += 0.5 * float(departure @ departure) + 0.5 * float(np.sum((own / own_spread) ** 2))
            gradients = (slope.sum(axis=0) + departure / spread, slope.sum(axis=1), slope + own / own_spread**2)
            return loss, np.concatenate([part.ravel() for part in gradients])

        found = _least(objective, np.concatenate([common, log_speed, own.ravel()]), self.max_iter)
        self.fitted_: tuple[Array, Array, Array] = _unpacked(found, count)
        self.n_features_in_ = len(prior)
        return self

    def starting_at(self, costs: ArrayLike) -> PooledCosts:
        """As if these costs of shape (n_devices, n_features) had been fitted; what is 0 there is far below its prior."""
        prior = np.log(np.asarray(self.prior, dtype=np.float64))
        given = np.asarray(costs, dtype=np.float64)
        with np.errstate(divide="ignore"):
            departures = np.where(given > 0, np.log(given), np.nan) - prior
        speed = np.nanmedian(departures, axis=1)
        own = np.where(given > 0, departures - speed[:, None], -FAR_BELOW)
        self.fitted_ = (prior + own.mean(axis=0), speed, own - own.mean(axis=0))
        self.n_features_in_ = len(prior)
        return self

    def adapt(self, X: ArrayLike, y: ArrayLike, *, expected: Array | None = None) -> Array:  # noqa: N803
        """The costs of a new device of the kind, from its rows; what is common stays as it was fitted.

        ``expected``: logarithms of the costs that other facts make expect of it, up to a common factor, in place of what is
        common; its own departures from these are half as large.
        """
        check_is_fitted(self)
        rows = _checked(X, y, np.zeros(len(np.asarray(y)), dtype=np.intp))
        _, own_spread = self._spreads()
        own_spread = own_spread if expected is None else EXPECTED * own_spread
        base = self.common_ if expected is None else expected

        def objective(flat: Array) -> tuple[float, Array]:
            speed, own = flat[0], flat[1:]
            loss, slope = self._loss(rows, _exp(speed + base + own)[None, :])
            loss += 0.5 * float(np.sum((own / own_spread) ** 2))
            return loss, np.concatenate([[slope.sum()], slope[0] + own / own_spread**2])

        found = _least(objective, np.concatenate([_log_speeds(rows, base), 0 * base]), self.max_iter)
        costs: Array = np.exp(found[0] + base + found[1:])
        return costs

    @property
    def common_(self) -> Array:
        return self.fitted_[0]

    @property
    def log_speed_(self) -> Array:
        return self.fitted_[1]

    @property
    def own_(self) -> Array:
        return self.fitted_[2]

    @property
    def coef_(self) -> Array:
        """The costs, of shape (n_devices, n_features)."""
        costs: Array = np.exp(self.log_speed_[:, None] + self.common_ + self.own_)
        return costs

    def predict(self, X: ArrayLike, devices: ArrayLike) -> Array:  # noqa: N803
        """Times for rows of work, each on the device of this number."""
        check_is_fitted(self)
        work = check_array(X, dtype=np.float64)
        if work.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {work.shape[1]} features, but PooledCosts is expecting {self.n_features_in_} features as input"
            )
        predicted: Array = np.einsum("rf,rf->r", self.coef_[np.asarray(devices, dtype=np.intp)], work)
        return predicted

    def _spreads(self) -> tuple[Array, Array]:
        return np.asarray(self.spread, dtype=np.float64), np.asarray(self.own_spread, dtype=np.float64)

    def _loss(self, rows: _Rows, costs: Array) -> tuple[float, Array]:
        """The loss in units of the noise, and its slope in the logarithm of each cost."""
        errors, predicted = rows.errors(costs)
        if self.freedom is not None:
            scale = self.freedom * self.noise**2
            far = 1.0 + errors**2 / scale
            loss = 0.5 * (self.freedom + 1.0) * np.log(far)
            return float(loss.sum()), rows.gradient((self.freedom + 1.0) * errors / (scale * far), predicted, costs)
        size = np.abs(errors)
        loss = np.where(size <= self.huber, 0.5 * errors**2, self.huber * (size - 0.5 * self.huber))
        slope = np.clip(errors, -self.huber, self.huber)
        weight = 1.0 / self.noise**2
        return weight * float(loss.sum()), rows.gradient(weight * slope, predicted, costs)


def _exp(logarithms: Array) -> Array:
    """Within what a float holds: a step of the search may go far before it is taken back."""
    within: Array = np.exp(np.clip(logarithms, -300, 300))
    return within


def _checked(X: ArrayLike, y: ArrayLike, devices: ArrayLike) -> _Rows:  # noqa: N803
    work = check_array(X, dtype=np.float64)
    times = column_or_1d(np.asarray(y, dtype=np.float64))
    numbers = column_or_1d(np.asarray(devices)).astype(np.intp)
    check_consistent_length(work, times, numbers)
    if np.any(work < 0):
        raise ValueError(f"work must not be negative, the least is {work.min():g}")
    if np.any(times <= 0):
        raise ValueError(f"times must be positive, the least is {times.min():g}")
    if set(numbers.tolist()) != set(range(int(numbers.max()) + 1)):
        raise ValueError("devices must be numbered 0, 1, ... with a row for each")
    order = np.argsort(numbers, kind="stable")
    return _Rows(work[order], np.log(times[order]), numbers[order])


def _log_speeds(rows: _Rows, log_costs: Array) -> Array:
    """Each device's median log time on the scale of these costs."""
    expected = np.log(rows.work @ np.exp(log_costs) + UNSEEN)
    parts = np.split(rows.log_times - expected, rows.starts[1:])
    return np.array([np.median(part) for part in parts])


def _unpacked(flat: Array, devices: int) -> tuple[Array, Array, Array]:
    features = (len(flat) - devices) // (devices + 1)
    common, speed, own = np.split(flat, [features, features + devices])
    return common, speed, own.reshape(devices, features)


def _least(objective: Any, start: Array, iterations: int) -> Array:
    options = {"maxiter": iterations, "maxfun": 2 * iterations, "maxcor": 20}
    found: Array = minimize(objective, start, jac=True, method="L-BFGS-B", options=options).x
    return found
