"""Bounds on how far an adversary moves a tanh network, in real arithmetic (float64), from their formulas.

layers: (weight [out, in], bias [out]). state: [in]. The ball of radius eps around it is one of l_inf or l2.
Every function bounds `||z(s_hat) - z(s)||_2` over the ball.
"""

from itertools import product
from math import prod, sqrt

import numpy as np

BISECTIONS = 14
NARROW = 1e-3  # on intervals below this width the tangent in the middle stands for the chord


def reach(rows, eps, norm):
    """The largest `row . d` over the ball, by row."""
    return eps * (np.abs(rows).sum(axis=1) if norm == "linf" else np.linalg.norm(rows, axis=1))


def l2_radius(layers, eps, norm):
    features = layers[0][0].shape[1]
    return eps * sqrt(features) if norm == "linf" else eps


# --- that hold at every state ---------------------------------------------------------------------------


def frobenius(layers, eps, norm):
    return l2_radius(layers, eps, norm) * prod(np.sqrt((weight**2).sum()) for weight, _ in layers)


def spectral(layers, eps, norm):
    return l2_radius(layers, eps, norm) * prod(np.linalg.norm(weight, 2) for weight, _ in layers)


def absolute_spectral(layers, eps, norm):
    return spectral([(np.abs(weight), bias) for weight, bias in layers], eps, norm)


def induced_one(layers, eps, norm):
    """The l1 norm of the change by the largest sums of columns."""
    features = layers[0][0].shape[1]
    radius = eps * features if norm == "linf" else eps * sqrt(features)
    return radius * prod(np.abs(weight).sum(axis=0).max() for weight, _ in layers)


def induced_inf(layers, eps, norm):
    """The largest sums of rows, those of the last layer each by itself."""
    *hidden, (last, _) = layers
    return eps * prod(np.abs(weight).sum(axis=1).max() for weight, _ in hidden) * np.linalg.norm(
        np.abs(last).sum(axis=1)
    )  # fmt: skip


def path(layers, eps, norm):
    paths = np.eye(layers[0][0].shape[1])
    for weight, _ in layers:
        paths = np.abs(weight) @ paths
    return np.linalg.norm(paths.sum(axis=1)) * eps if norm == "linf" else np.linalg.norm(paths, 2) * eps


def eclipse(layers, eps, norm):
    """ECLipsE-Fast (Xu and Sivaranjani 2024): `M_0 = I, M = lam I - lam^2 / 4 W M^-1 W^T`."""
    *hidden, (last, _) = layers
    matrix = np.eye(layers[0][0].shape[1])
    for weight, _ in hidden:
        squeezed = weight @ np.linalg.inv(matrix) @ weight.T
        lam = 2 / np.linalg.eigvalsh(squeezed).max()
        matrix = lam * np.eye(len(weight)) - lam**2 / 4 * squeezed
    largest = np.linalg.eigvalsh(last @ np.linalg.inv(matrix) @ last.T).max()
    return l2_radius(layers, eps, norm) * sqrt(largest)


EVERYWHERE = {
    bound.__name__: bound
    for bound in (frobenius, spectral, absolute_spectral, induced_one, induced_inf, path, eclipse)
}


# --- that hold at one state -----------------------------------------------------------------------------


def forward(layers, state):
    for weight, bias in layers[:-1]:
        state = np.tanh(weight @ state + bias)
    weight, bias = layers[-1]
    return weight @ state + bias


def image(weight, bias, lower, upper):
    """The box of `W h + b` for h in a box."""
    positive, negative = np.maximum(weight, 0), np.minimum(weight, 0)
    return positive @ lower + negative @ upper + bias, positive @ upper + negative @ lower + bias


def interval_boxes(layers, state, eps, norm):
    """Lower and upper pre-activations of every layer."""
    weight, bias = layers[0]
    clean, move = weight @ state + bias, reach(weight, eps, norm)
    boxes = [(clean - move, clean + move)]
    for weight, bias in layers[1:]:
        lower, upper = boxes[-1]
        boxes.append(image(weight, bias, np.tanh(lower), np.tanh(upper)))
    return boxes


def farthest_corner(lower, upper):
    return np.linalg.norm(np.maximum(np.abs(lower), np.abs(upper)))


def interval(layers, state, eps, norm):
    lower, upper = interval_boxes(layers, state, eps, norm)[-1]
    clean = forward(layers, state)
    return farthest_corner(lower - clean, upper - clean)


def jacobian(layers, state, eps, norm):
    """The mean value theorem, the Jacobian in interval arithmetic."""
    boxes = interval_boxes(layers, state, eps, norm)
    low = high = layers[0][0]
    for (weight, _), (lower, upper) in zip(layers[1:], boxes, strict=False):
        nearest = np.where((lower < 0) & (upper > 0), 0, np.minimum(np.abs(lower), np.abs(upper)))
        farthest = np.maximum(np.abs(lower), np.abs(upper))
        flattest, steepest = 1 - np.tanh(farthest) ** 2, 1 - np.tanh(nearest) ** 2
        corners = [slope[:, None] * end for slope in (flattest, steepest) for end in (low, high)]
        low, high = image(weight, 0.0, np.min(corners, axis=0), np.max(corners, axis=0))
    return np.linalg.norm(reach(np.maximum(np.abs(low), np.abs(high)), eps, norm))


def crown(layers, state, eps, norm):
    """CROWN's lines, and the chord of every square over the parts of the box of changes cut at zero.

    The lines are those of least area among tangent in the middle, chord, and the tangents through either end.
    `D_i^2 <= (l_i + u_i) D_i - l_i u_i` where `l_i <= D_i <= u_i`: its right side, summed over i, is one more
    row for CROWN. The bound is the largest of the parts', where a part is not worse than its farthest corner.
    """
    hidden = []
    for index, (weight, bias) in enumerate(layers):
        lower = -_upper_limits(-weight, -bias, hidden, state, eps, norm)
        upper = _upper_limits(weight, bias, hidden, state, eps, norm)
        if index:
            low, high = image(weight, bias, *(np.tanh(end) for end in hidden[-1][2]))
            lower, upper = np.maximum(lower, low), np.minimum(upper, high)
        hidden.append((weight, bias, (lower, upper), *_lines(lower, upper)))
    last, bias = layers[-1]
    clean = forward(layers, state)
    lower, upper = lower - clean, upper - clean
    signs = np.array(list(product((-1, 1), repeat=len(clean))))
    low = np.where(signs > 0, np.maximum(lower, np.minimum(upper, 0)), lower)
    high = np.where(signs < 0, np.minimum(upper, np.maximum(lower, 0)), upper)
    rows, offsets = (low + high) @ last, (low + high) @ (bias - clean)
    limits = _upper_limits(rows, offsets, hidden[:-1], state, eps, norm) - np.sum(low * high, axis=1)
    corners = np.sum(np.maximum(np.abs(low), np.abs(high)) ** 2, axis=1)
    return min(sqrt(np.minimum(limits, corners).max()), farthest_corner(lower, upper))


def _upper_limits(rows, offsets, hidden, state, eps, norm):
    """The largest `row . h + offset` that the lines around the hidden activations leave possible."""
    for weight, bias, _, below, above in reversed(hidden):
        positive, negative = np.maximum(rows, 0), np.minimum(rows, 0)
        offsets = offsets + positive @ above[1] + negative @ below[1]
        rows = positive * above[0] + negative * below[0]
        offsets, rows = offsets + rows @ bias, rows @ weight
    return offsets + rows @ state + reach(rows, eps, norm)


def _lines(lower, upper):
    """(slopes, intercepts) of the lines below and above tanh on intervals, those highest and lowest in the
    middle."""
    middle, width = (lower + upper) / 2, upper - lower
    tangent = 1 - np.tanh(middle) ** 2
    rise = np.tanh(upper) - np.tanh(lower)
    chord = np.where(width > NARROW, rise / np.maximum(width, NARROW), tangent)
    slopes = np.array([tangent, chord, *_touching(np.array([lower, -upper]))])
    candidates = np.array([lower + 0 * slopes, upper + 0 * slopes])
    # tanh(z) - a z has its extremes at the ends or where the slope of tanh is a
    flat = np.arctanh(np.sqrt(np.clip(1 - slopes, 0, 1 - 1e-15)))
    inside = [np.where((lower < z) & (z < upper), z, lower) for z in (flat, -flat)]
    candidates = np.concatenate([candidates, inside])
    gaps = np.tanh(candidates) - slopes * candidates
    below, above = gaps.min(axis=0), gaps.max(axis=0)
    best = np.argmax(below + slopes * middle, axis=0), np.argmin(above + slopes * middle, axis=0)
    neuron = np.arange(len(lower))
    return (slopes[best[0], neuron], below[best[0], neuron]), (
        slopes[best[1], neuron],
        above[best[1], neuron],
    )


def _touching(end):
    """Slope of the line through tanh at `end` that touches it beyond zero; 1 for an end not below zero."""
    end = np.minimum(end, 0)
    low, high = np.zeros_like(end), -end / 2
    for _ in range(BISECTIONS):
        d = (low + high) / 2
        steep = (1 - np.tanh(d) ** 2) * (d - end) > np.tanh(d) - np.tanh(end)
        low, high = np.where(steep, d, low), np.where(steep, high, d)
    return 1 - np.tanh(low) ** 2


AT_A_STATE = {bound.__name__: bound for bound in (interval, jacobian, crown)}
