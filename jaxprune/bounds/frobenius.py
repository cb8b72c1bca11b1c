"""The product of the Frobenius norms of the layers.

A function of `|W|` that grows with every entry: `bound(W * M) <= bound(W)` for every 0/1 mask `M` (theorem of
the library's theory note, section 3).
"""

from jaxprune.bounds.ball import Radius, l2_radius
from jaxprune.bounds.change import Change, change_from_l2
from jaxprune.bounds.network import stretch
from jaxprune.bounds.rounding import l2_norm, outward, product_of
from jaxprune.policy import Layers


def frobenius_product(layers: Layers, eps: Radius, *, norm: str = "linf", activation: str = "tanh") -> Change:
    """`||D||_2 <= eps_2 prod_l ||W_l||_F`, with `eps_2` the l2 radius of the ball (`||eps||_2` for linf)."""
    first = layers[0][0]
    radius = l2_radius(eps, first.shape[1], norm, first.dtype) * stretch(layers, activation)
    bound = product_of(radius, *(l2_norm(weight) for weight, _ in layers))
    return change_from_l2(outward(bound, sum(weight.size for weight, _ in layers)))
