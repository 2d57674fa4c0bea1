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
from sklearn.utils.validation import check_array, check_is_fitted, check_X_y

Array = NDArray[np.float64]


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
        self, prior: ArrayLike | None = None, *, strength: float = 0.1, huber: float = 0.3, rounds: int = 5
    ) -> None:
        self.prior = prior
        self.strength = strength
        self.huber = huber
        self.rounds = rounds

    def fit(self, X: ArrayLike, y: ArrayLike) -> NonNegativeRegression:  # noqa: N803
        """Fit on rows of work and their measured times, all positive."""
        features, times = check_X_y(X, y, dtype=np.float64)
        if np.any(times <= 0):
            raise ValueError("times must be positive")
        rows = features / times[:, None]
        scale = np.abs(rows).max(axis=0)
        scale[scale == 0] = 1.0
        prior = self._scaled_prior(rows) * scale if self.prior is not None else None
        weights = np.ones(len(rows))
        for _ in range(max(1, self.rounds)):
            coefficients = self._solve(rows / scale, weights, prior)
            residuals = np.abs(rows / scale @ coefficients - 1.0)
            weights = np.sqrt(np.minimum(1.0, self.huber / np.maximum(residuals, 1e-12)))
        self.coef_: Array = coefficients / scale
        self.n_features_in_ = features.shape[1]
        return self

    def _scaled_prior(self, rows: Array) -> Array:
        """The prior times the factor at which the median relative prediction is 1."""
        prior = np.asarray(self.prior, dtype=np.float64)
        predicted = rows @ prior
        return prior / max(float(np.median(predicted)), 1e-300)

    def _solve(self, rows: Array, weights: Array, prior: Array | None) -> Array:
        left, right = rows * weights[:, None], weights
        if prior is not None and self.strength > 0:
            known = prior > 0
            pull = np.diag(np.where(known, self.strength / np.where(known, prior, 1.0), self.strength))
            left = np.vstack([left, pull])
            right = np.concatenate([right, np.where(known, self.strength, 0.0)])
        solution: Array = nnls(left, right, maxiter=10 * left.shape[1] + 100)[0]
        return solution

    def predict(self, X: ArrayLike) -> Array:  # noqa: N803
        """Times for rows of work."""
        check_is_fitted(self)
        predicted: Array = check_array(X, dtype=np.float64) @ self.coef_
        return predicted

    def get_state(self) -> dict[str, Any]:
        """What was learnt, as plain numbers for JSON."""
        check_is_fitted(self)
        return {"coef": self.coef_.tolist()}
