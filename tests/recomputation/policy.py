"""A Gaussian policy in NumPy: what it does, and what moves it most (MAD)."""

from typing import NamedTuple

import numpy as np

MAD_STEPS = 10


class Policy(NamedTuple):
    """layers: (weight [out, in], bias [out]), first to last. log_std: [act]. mean, std: [obs], of the filter.

    Everything float32, as it was saved.
    """

    layers: list[tuple[np.ndarray, np.ndarray]]
    log_std: np.ndarray
    mean: np.ndarray
    std: np.ndarray

    def normalised(self, observed: np.ndarray) -> np.ndarray:
        """What the network reads: `(s - mean) / std`, cut to +-10."""
        return np.clip((observed - self.mean) / self.std, -10, 10)


class Seen(NamedTuple):
    """A policy seen from the space in which the budgets are: a point is a raw or a normalised observation."""

    policy: Policy
    space: str

    def point(self, observed: np.ndarray) -> np.ndarray:
        return observed if self.space == "raw" else self.policy.normalised(observed)

    def output(self, point: np.ndarray) -> np.ndarray:
        """The mean action."""
        return self._activations(point)[-1]

    def pulled_back(self, point: np.ndarray, row: np.ndarray) -> np.ndarray:
        """`row` [act] times the Jacobian of the mean action at a point: [obs]."""
        _, *hidden, _ = self._activations(point)
        for (weight, _), activation in zip(self.policy.layers[:0:-1], hidden[::-1], strict=True):
            row = (row @ weight) * (1 - activation**2)
        row = row @ self.policy.layers[0][0]
        if self.space == "normalised":
            return row
        inside = np.abs((point - self.policy.mean) / self.policy.std) < 10
        return row * inside / self.policy.std

    def _activations(self, point: np.ndarray) -> list[np.ndarray]:
        values = [self.policy.normalised(point) if self.space == "raw" else point]
        for weight, bias in self.policy.layers[:-1]:
            values.append(np.tanh(weight @ values[-1] + bias))
        weight, bias = self.policy.layers[-1]
        return [*values, weight @ values[-1] + bias]


def mad(victim: Seen, centre: np.ndarray, start: np.ndarray, eps: float, norm: str) -> np.ndarray:
    """The most different of the points that an ascent of the action difference meets.

    Difference: `sum_i (sigma_min / sigma_i)^2 (mu_i(s_hat) - mu_i(s))^2`. From `start` (in the ball of radius
    1) times a tenth of eps, ten steepest steps of a tenth of eps, each projected; at last the steepest point
    of the whole ball.
    """
    clean = victim.output(centre)
    log_std = victim.policy.log_std
    weight = np.exp(2 * (log_std.min() - log_std))

    def difference(offset: np.ndarray) -> tuple[float, np.ndarray]:
        change = victim.output(centre + offset) - clean
        return np.sum(weight * change**2), victim.pulled_back(centre + offset, 2 * weight * change)

    stride = np.float32(eps / MAD_STEPS)
    offset = stride * start
    met = []
    for _ in range(MAD_STEPS):
        value, slope = difference(offset)
        met.append((value, offset))
        offset = projected(offset + stride * steepest(slope, norm), eps, norm)
    value, slope = difference(offset)
    furthest = np.float32(eps) * steepest(slope, norm)
    met += [(value, offset), (difference(furthest)[0], furthest)]
    return centre + max(met, key=lambda pair: pair[0])[1]


def steepest(slope: np.ndarray, norm: str) -> np.ndarray:
    """The point of the unit ball furthest along a slope."""
    length = np.linalg.norm(np.float64(slope))
    return np.sign(slope) if norm == "linf" else np.float32(slope / length) if length else slope


def projected(offset: np.ndarray, eps: float, norm: str) -> np.ndarray:
    """The nearest point of the ball."""
    if norm == "linf":
        return np.clip(offset, -np.float32(eps), np.float32(eps))
    return offset * np.float32(min(1, eps / np.linalg.norm(offset)))
