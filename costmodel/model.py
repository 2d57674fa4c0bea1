"""The regressor: a non-negative linear model fitted for relative error, shrunk towards a prior.

Time is a sum over kernels of work divided by speed, so every coefficient is a time per unit of work and cannot be
negative. A relative error of 10 % should weigh the same for a network of 5 ms and for one of 5 s, so each equation is
divided by its measured time (RESEARCH: "what to avoid is plain least squares in ms").
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import nnls
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_array, check_is_fitted, check_non_negative, check_X_y

Array = NDArray[np.float64]


def fit_relative(
    work: Array, times: Array, prior: Array | None = None, *, strength: float = 0.1, huber: float = 0.3, rounds: int = 4
) -> Array:
    """The non-negative coefficients of least relative error; see NonNegativeRegression for the arguments."""
    rows = work / times[:, None]
    scale = rows.max(axis=0)
    scale[scale <= 0] = 1.0
    rows = rows / scale
    pull, target = _pull(rows, prior * scale, strength) if prior is not None and strength > 0 else (rows[:0], times[:0])
    weights = np.ones(len(rows))
    coefficients = np.zeros(rows.shape[1])
    for _ in range(max(1, rounds)):
        left = np.vstack([rows * weights[:, None], pull])
        coefficients = nnls(left, np.concatenate([weights, target]), maxiter=10 * left.shape[1] + 100)[0]
        weights = np.sqrt(np.minimum(1.0, huber / np.maximum(np.abs(rows @ coefficients - 1.0), 1e-12)))
    result: Array = coefficients / scale
    return result


def _pull(rows: Array, prior: Array, strength: float) -> tuple[Array, Array]:
    """One equation a coefficient, ``strength * coef / (factor * prior) = strength``, or ``= 0`` where the prior is 0.

    The factor is the device's speed: it makes the median relative prediction of the prior 1.
    """
    prior = prior / max(float(np.median(rows @ prior)), 1e-300)
    known = prior > 0
    return np.diag(np.where(known, strength / np.where(known, prior, 1.0), strength)), np.where(known, strength, 0.0)


class NonNegativeRegression(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """``y = X @ coef_`` with ``coef_ >= 0``, least relative squares.

    Parameters
    ----------
    prior : array of shape (n_features,), optional
        Coefficients that the fit is drawn towards, up to one common factor (the device's speed), which is fitted.
    strength : float
        Weight of the prior: one equation ``coef / (factor * prior) = 1`` of this weight for each feature.
    huber : float
        Relative residuals beyond this count linearly; infinity for plain least squares.
    rounds : int
        Reweighted least-squares rounds for the Huber loss.

    >>> X = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 2.0]])
    >>> NonNegativeRegression().fit(X, X @ [3.0, 0.5]).coef_.round(6)
    array([3. , 0.5])

    """

    def __init__(
        self, prior: ArrayLike | None = None, *, strength: float = 0.1, huber: float = 0.3, rounds: int = 4
    ) -> None:
        self.prior = prior
        self.strength = strength
        self.huber = huber
        self.rounds = rounds

    def fit(self, X: ArrayLike, y: ArrayLike) -> NonNegativeRegression:  # noqa: N803
        """Fit on rows of work and their measured times, all positive."""
        features, times = check_X_y(X, y, dtype=np.float64, y_numeric=True)
        check_non_negative(features, "NonNegativeRegression (work)")
        if np.any(times <= 0):
            raise ValueError(f"times must be positive, the least is {times.min():g}")
        prior = None if self.prior is None else np.asarray(self.prior, dtype=np.float64)
        self.coef_: Array = fit_relative(
            features, times, prior, strength=self.strength, huber=self.huber, rounds=self.rounds
        )
        self.n_features_in_ = features.shape[1]
        return self

    def predict(self, X: ArrayLike) -> Array:  # noqa: N803
        """Times for rows of work."""
        check_is_fitted(self)
        features = check_array(X, dtype=np.float64)
        if features.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {features.shape[1]} features, but NonNegativeRegression is expecting {self.n_features_in_} features "
                "as input"
            )
        predicted: Array = features @ self.coef_
        return predicted

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn may feed it: work and times are never negative."""
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        tags.target_tags.positive_only = True
        return tags
