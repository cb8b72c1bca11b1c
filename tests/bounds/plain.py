"""Interval bounds and CROWN written once more, in NumPy loops over single neurons, from the formulas.

tanh only, l_inf ball, float64. CROWN's lines are those of the library (least area among tangent in the
middle, chord and end tangents), found here by brute force instead of closed forms.
"""

import numpy as np


def interval_boxes(layers, state, eps):
    """Per layer, lower and upper pre-activations."""
    low, high, boxes = [s - eps for s in state], [s + eps for s in state], []
    for weight, bias in layers:
        below, above = [], []
        for row, offset in zip(weight, bias, strict=True):
            below.append(
                offset + sum(w * (a if w > 0 else b) for w, a, b in zip(row, low, high, strict=True))
            )
            above.append(
                offset + sum(w * (b if w > 0 else a) for w, a, b in zip(row, low, high, strict=True))
            )
        boxes.append((below, above))
        low, high = np.tanh(below), np.tanh(above)
    return boxes


SHARES = np.linspace(0, 1, 20001)


def lines(lower, upper):
    """(slope, intercept) below and above tanh on [lower, upper], intercepts by search on a fine grid."""
    grid = lower + (upper - lower) * SHARES
    values, middle = np.tanh(grid), (lower + upper) / 2
    slopes = [1 - np.tanh(middle) ** 2]
    if upper > lower:
        slopes.append((np.tanh(upper) - np.tanh(lower)) / (upper - lower))
        chords_up = (values[1:] - values[0]) / (grid[1:] - grid[0])
        chords_down = (values[-1] - values[:-1]) / (grid[-1] - grid[:-1])
        slopes += [chords_up.max(), chords_down.max()]  # through an end, touching on the other side
    above = [(slope, np.max(values - slope * grid)) for slope in slopes]
    below = [(slope, np.min(values - slope * grid)) for slope in slopes]
    return max(below, key=lambda ab: ab[0] * middle + ab[1]), min(
        above, key=lambda ab: ab[0] * middle + ab[1]
    )


def row_limit(row, offset, below, state, eps):
    """Upper bound of `row . h + offset`; `below` holds (weight, bias, lines) of the hidden layers."""
    limit = offset
    for weight, bias, layer_lines in reversed(below):
        coefficients = []
        for c, (low, high) in zip(row, layer_lines, strict=True):
            slope, intercept = high if c >= 0 else low
            limit += c * intercept
            coefficients.append(c * slope)
        limit += sum(c * b for c, b in zip(coefficients, bias, strict=True))
        row = [sum(c * w for c, w in zip(coefficients, column, strict=True)) for column in weight.T]
    return limit + sum(c * s + abs(c) * eps for c, s in zip(row, state, strict=True))


def crown_box(layers, state, eps):
    """Lower and upper outputs, hidden boxes intersected with those of interval arithmetic on the way."""
    below, low, high = [], None, None
    for weight, bias in layers:
        lower, upper = [], []
        for row, offset in zip(weight, bias, strict=True):
            lower.append(-row_limit(-row, -offset, below, state, eps))
            upper.append(row_limit(row, offset, below, state, eps))
        if below:
            centre, radius = (np.tanh(low) + np.tanh(high)) / 2, (np.tanh(high) - np.tanh(low)) / 2
            lower = np.maximum(lower, weight @ centre + bias - np.abs(weight) @ radius)
            upper = np.minimum(upper, weight @ centre + bias + np.abs(weight) @ radius)
        low, high = np.array(lower), np.array(upper)
        below.append((weight, bias, [lines(a, b) for a, b in zip(low, high, strict=True)]))
    return low, high
