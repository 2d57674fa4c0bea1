"""The numbers of the law from measured kernels of several GPUs: few, positive, and the same for all GPUs of a vendor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import least_squares
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from costmodel.gpu.launches import Launches
from costmodel.gpu.law import NUMBERS, UTILISATIONS, times
from costmodel.schema.datasheet import Datasheet

Array = NDArray[np.float64]
Index = NDArray[np.intp]


class UtilisationLaw(BaseEstimator):  # type: ignore[misc]
    """The law of one family of kernels, fitted to the log times of several GPUs together.

    Parameters
    ----------
    noise : float
        Error in log time that one deviation of a number from where it starts weighs as much as, per GPU.
    own_spread : float
        Standard deviation of what a GPU is faster or slower than its datasheet tells; a new one is taken to be as stated.
    huber : float
        Errors in log time beyond this count about linearly.

    Attributes
    ----------
    numbers_ : dict of str to float, typical_clock_ : float, own_ : array of shape (n_devices,)

    >>> from costmodel.gpu.launches import launches
    >>> sheet = Datasheet(
    ...     vendor="nvidia", compute_units=80, product_flop_per_s=14e12, bandwidth_b_per_s=9e11, cache_bytes=6e6
    ... )
    >>> streams = launches("elementwise", read_bytes=[1e4, 1e6, 1e8, 1e9])
    >>> law = UtilisationLaw(own_spread=0.01).fit(streams, 4e-5 + streams.read_bytes / 6e11, [0, 0, 0, 0], [sheet])
    >>> round(law.numbers_["launch_s"] * 1e5, 1), round(law.numbers_["bandwidth"], 2)
    (4.0, 0.67)

    """

    def __init__(self, *, noise: float = 0.1, own_spread: float = 0.15, huber: float = 0.15) -> None:
        self.noise = noise
        self.own_spread = own_spread
        self.huber = huber

    def fit(self, X: Launches, y: ArrayLike, devices: ArrayLike, sheets: Sequence[Datasheet]) -> UtilisationLaw:  # noqa: N803
        """Fit on kernels and their times, each on the device of this number in ``sheets``; each device weighs alike.

        Raises ValueError for times that are not positive.
        """
        measured, numbers = np.asarray(y, dtype=np.float64), np.asarray(devices, dtype=np.intp)
        check_consistent_length(X.read_bytes, measured, numbers)
        if np.any(measured <= 0):
            raise ValueError(f"times must be positive, the least is {measured.min():g}")
        clocks = [sheet.base_clock_ratio for sheet in sheets if sheet.base_clock_ratio is not None]
        self.typical_clock_ = float(np.median(clocks)) if clocks else 1.0
        self.family_ = X.family
        rows = [np.flatnonzero(numbers == i) for i in range(len(sheets))]
        parts = [(X[kept], np.log(measured[kept]), sheet) for kept, sheet in zip(rows, sheets, strict=True) if len(kept)]
        table = NUMBERS[X.family]
        starts, spreads = np.log([start for start, _ in table.values()]), np.array([width for _, width in table.values()])

        def residuals(flat: Array) -> Array:
            found = [self._errors(part, dict(zip(table, np.exp(flat), strict=True))) for part in parts]
            return np.concatenate([self._scaled(errors) for errors in found] + [(flat - starts) / spreads])

        most = np.array([0.0 if name in UTILISATIONS else np.inf for name in table])
        best = least_squares(
            residuals, starts, bounds=(-np.inf, most), loss="soft_l1", f_scale=self.huber / self.noise, x_scale=spreads
        )
        self.numbers_ = {name: float(f"{value:.6g}") for name, value in zip(table, np.exp(best.x), strict=True)}
        self.own_ = np.array([self._own(self._errors(part, self.numbers_)) for part in parts])
        return self

    def predict(self, X: Launches, sheet: Datasheet) -> Array:  # noqa: N803
        """Times of kernels on a device that the fit has not seen."""
        check_is_fitted(self)
        return times(X, sheet, self.numbers_, self.typical_clock_).total_s

    def _errors(self, part: tuple[Launches, Array, Datasheet], numbers: Mapping[str, float]) -> Array:
        found, log_times, sheet = part
        errors: Array = np.log(times(found, sheet, numbers, self.typical_clock_).total_s) - log_times
        return errors

    def _own(self, errors: Array) -> float:
        """The device's own part of its errors: their median, drawn towards 0."""
        sureness = self.own_spread**2 / (self.own_spread**2 + self.noise**2 / ROWS)
        return float(np.mean(np.clip(errors - np.median(errors), -0.3, 0.3)) * sureness + np.median(errors) * sureness)

    def _scaled(self, errors: Array) -> Array:
        own = self._own(errors)
        weight = np.sqrt(ROWS / len(errors)) / self.noise
        scaled: Array = np.append((errors - own) * weight, own / self.own_spread)
        return scaled


ROWS = 30.0  # independent observations that the kernels of one device count for: neighbours in shape err alike
