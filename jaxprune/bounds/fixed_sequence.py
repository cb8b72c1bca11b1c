"""The largest radius up to which a return is certified: claims in a fixed order, each at the whole error.

Let `v_k` be the mean return of a policy under the worst attack of radius `eps_1 < eps_2 < ...`, `L_k` a lower
limit on it that is too high with probability `a` at most, by itself, and `asked` a number that does not
depend on the episodes of the limits. Claim `v_k >= asked` for k = 1, 2, ... as long as `L_k >= asked`, and
stop at the first limit that does not reach it. Then any claim is wrong with probability `a` at most, however
many radii there are.

Proof. Let j be the first k with `v_k < asked`; without one no claim is wrong. No claim before it is, and it
or a later one is made only if `L_j >= asked > v_j`, which is: if `L_j` is too high. QED (Marcus, Peritz and
Gabriel 1976; Maurer, Hothorn and Lehmacher 1995.)

The order has to be fixed without the episodes of the limits; from small to large is natural, because a
return that is certified under a ball is certified under every smaller one, so that a sequence that has
stopped would have had nothing more to claim. The proof does not use that, nor that all claims are about one
policy: for each radius another may have been chosen, on other episodes, and its claim is about that one.
Going on after a failure, and taking the largest radius whose limit reaches what is asked, is a chance to be
wrong for every radius.

References: Marcus, Peritz and Gabriel, On closed testing procedures with special reference to ordered
analysis of variance, Biometrika 1976. Maurer, Hothorn and Lehmacher, Multiple comparisons in drug clinical
trials and preclinical assays: a-priori ordered hypotheses, 1995.
"""

import numpy as np
from jaxtyping import Float


def largest_radius(
    radii: Float[np.ndarray, " radius"], limits: Float[np.ndarray, " radius"], asked: float
) -> float:
    """The last radius before the first limit that does not reach what is asked; 0 where none does.

    Args:
        radii: in any order; the claims are made from the smallest to the largest.
        limits: lower limits on the mean under attack, each valid by itself at the confidence of the result.
        asked: a return, chosen without the episodes of the limits.
    """
    order = np.argsort(radii)
    claims = np.logical_and.accumulate(limits[order] >= asked)
    return float(np.max(radii[order], where=claims, initial=0.0))
