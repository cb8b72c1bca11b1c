"""Exact tests of many paired differences at once, by flipping the signs of whole pairs."""

from math import ceil, log2

import numpy as np
from jaxtyping import Float, Int

FLIPS = 2**16
"""So many flips are enumerated or, where there are more, drawn."""

_AT_ONCE = 2**22  # statistics held in memory at a time: 32 MiB
_ROUNDING = 1e-9  # statistics lie in [0, sqrt(pairs)]; closer ones are ties


def needed_pairs(alpha: float = 0.05, families: int = 1) -> int:
    """The smallest number of pairs that can reject anything: `n` with `families * 2 / 2^n <= alpha`.

    Of the `2^n` flips, the identity and its mirror image always reach what was observed.
    """
    return ceil(round(log2(2 * families / alpha), 9))


def sign_flips(pairs: int, most: int = FLIPS, seed: int = 0) -> Float[np.ndarray, "flip {pairs}"]:
    """Signs, a flip of every pair in each row, the identity first.

    All flips but for mirror images, which give the same `|sum|`: `2^(pairs - 1)` of them. Where that is more
    than `most`, the identity and `most - 1` random flips.
    """
    count = 2 ** (pairs - 1)
    if count > most:
        signs = np.random.default_rng(seed).choice((-1.0, 1.0), (most, pairs))
        signs[0] = 1
        return signs
    bits = np.arange(count)[:, None] >> np.arange(pairs - 1) & 1
    return np.concatenate([np.ones((count, 1)), 1.0 - 2 * bits], axis=1)


def adjusted_p(
    differences: Float[np.ndarray, "*experiments pair hypothesis"], flips: int = FLIPS, seed: int = 0
) -> Float[np.ndarray, "*experiments hypothesis"]:
    """Two-sided p values of paired differences, adjusted for the number of hypotheses: step-down max-T.

    The statistic of a hypothesis is

        S = |sum_i d_i| / sqrt(sum_i d_i^2),    |t| = S sqrt((n - 1) / (n - S^2))

    so it orders as Student's `|t|` of its `n` pairs does, recomputed under every flip; its square has the
    mean 1 over the flips whatever the pairs are, and it stays finite where all differences are equal. One
    flip of a pair turns the signs of all its differences, so what hypotheses share (a dense twin, a budget)
    stays as it is.

    If the differences of the true hypotheses are jointly symmetric about 0, the probability that any of them
    has `p <= alpha` is at most `alpha`, whichever the other hypotheses are: exactly, for any number of pairs
    and any tails (Westfall & Young 1993, algorithm 2.8; Romano & Wolf, JASA 2005). Where the flips are drawn
    (more than `flips`), `p = (1 + hits) / (1 + draws)` has the same property.

    Args:
        differences: NaN where a hypothesis lacks a pair. Leading axes are independent experiments, which get
            the same flips.
        flips: the most to use.
        seed: of drawn flips.

    Returns:
        p values in the order of the hypotheses; 1 where all differences are 0.
    """
    known = np.nan_to_num(differences, nan=0.0)
    largest = np.abs(known).max(axis=-2, keepdims=True, initial=0.0)
    unit = np.divide(known, largest, out=np.zeros_like(known), where=largest > 0)
    size = np.sqrt((unit**2).sum(axis=-2, keepdims=True))
    unit = np.divide(unit, size, out=np.zeros_like(unit), where=size > 0)
    observed = np.abs(unit.sum(axis=-2))
    # From the most to the least conspicuous: each is compared with the maximum over those not yet rejected.
    order = np.argsort(-observed, axis=-1, kind="stable")
    unit = np.take_along_axis(unit, order[..., None, :], axis=-1)
    observed = np.take_along_axis(observed, order, axis=-1)
    signs = sign_flips(unit.shape[-2], flips, seed)
    hits = np.zeros(observed.shape)
    rows = max(1, _AT_ONCE // max(1, observed.size))
    for start in range(0, len(signs), rows):
        flipped = np.abs(signs[start : start + rows] @ unit)
        largest_left = np.maximum.accumulate(flipped[..., ::-1], axis=-1)[..., ::-1]
        hits += (largest_left >= observed[..., None, :] - _ROUNDING).sum(axis=-2)
    p = np.maximum.accumulate(hits / len(signs), axis=-1)
    return np.take_along_axis(p, _inverse(order), axis=-1)


def _inverse(order: Int[np.ndarray, "*experiments hypothesis"]) -> Int[np.ndarray, "*experiments hypothesis"]:
    """Where each hypothesis has come to stand."""
    return np.argsort(order, axis=-1, kind="stable")
