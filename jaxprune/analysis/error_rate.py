"""How sure a verdict is, and how many seeds that takes at least."""

from math import ceil, log2

DEFAULT_ERROR = 0.05
"""Largest probability of any wrong verdict among all that are given together."""


def seeds_needed(error: float) -> int:
    """Fewest paired seeds with which a two-sided sign-flip test can reject: `2 / 2^n <= error`."""
    return ceil(log2(2 / error))
