"""What is done to PPO so that a policy is hard to attack: one file per idea, all listed here."""

from jaxprune.errors import SpecError
from jaxprune.training.regularizers.api import Critic, Leaves, Moment, Regularizer, Sizes
from jaxprune.training.regularizers.atla import ATLA, PA_ATLA
from jaxprune.training.regularizers.certified import D2, D2_SAMPLED, LIPSCHITZ_PATH, LIPSCHITZ_SPECTRAL
from jaxprune.training.regularizers.ernie import ERNIE, ERNIE_STACKELBERG
from jaxprune.training.regularizers.kl import KL
from jaxprune.training.regularizers.radial import RADIAL
from jaxprune.training.regularizers.randomised import RANDOMISED
from jaxprune.training.regularizers.sa_convex import SA_CONVEX
from jaxprune.training.regularizers.sa_sgld import SA_SGLD
from jaxprune.training.regularizers.schedule import BUDGET
from jaxprune.training.regularizers.shown import ADVTRAIN_CRITIC, ADVTRAIN_MAD, NOISE
from jaxprune.training.regularizers.usr import USR, USR_PUBLISHED
from jaxprune.training.regularizers.wocar import WOCAR

__all__ = ["BUDGET", "REGULARIZERS", "Critic", "Leaves", "Moment", "Regularizer", "Sizes", "add"]

REGULARIZERS: dict[str, Regularizer] = {}
"""All regularisers by name, in the order in which they are listed."""


def add(*regularizers: Regularizer) -> None:
    """List regularisers. Raises SpecError for a name that is listed already."""
    for regularizer in regularizers:
        if regularizer.name in REGULARIZERS:
            raise SpecError(f"regularizer: {regularizer.name!r} is listed already; give it another name")
        REGULARIZERS[regularizer.name] = regularizer


add(
    SA_SGLD,
    SA_CONVEX,
    RADIAL,
    ERNIE,
    ERNIE_STACKELBERG,
    NOISE,
    ADVTRAIN_MAD,
    ADVTRAIN_CRITIC,
    WOCAR,
    ATLA,
    PA_ATLA,
    LIPSCHITZ_SPECTRAL,
    LIPSCHITZ_PATH,
    D2,
    D2_SAMPLED,
    USR,
    USR_PUBLISHED,
    RANDOMISED,
    KL,
)
