"""Random streams by purpose: whatever draws from a seed says what for, and no two purposes share a key.

With JAX's default generator `fold_in(key, i)` equals `split(key, n)[i]`. So a stream that is set apart by a
small number is the very key that another stream gets by splitting. Each purpose is therefore folded in first,
as a tag of at least 2^31, which no split reaches.
"""

from zlib import crc32

import jax
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

DOMAINS = (
    "training",
    "evaluation",
    "visits",
    "certification",
    "audit",
    "attacked returns",
    "adversary",
    "warm starts",
    "critics",
    "rungs",
    "selection",
    "measurement",
    "shifts",
    "shifted",
)
"""What a seed is used for."""


def tag(domain: str) -> np.uint32:
    """The number that stands for a domain. Raises KeyError for one that is not in `DOMAINS`."""
    if domain not in DOMAINS:
        raise KeyError(domain)
    return np.uint32(crc32(domain.encode()) | 2**31)


def key(seed: Int[Array, ""] | int, domain: str) -> PRNGKeyArray:
    """The key of a seed for one purpose; the seed may be traced."""
    return jax.random.fold_in(jax.random.key(seed), tag(domain))
