"""Terms of the loss that make a policy hard to attack: one file each, all listed here."""

from jaxprune.errors import SpecError
from jaxprune.training.regularizers.api import Leaves, Moment, Regularizer
from jaxprune.training.regularizers.sa_sgld import SA_SGLD
from jaxprune.training.regularizers.schedule import linear

__all__ = ["REGULARIZERS", "Leaves", "Moment", "Regularizer", "add", "linear"]

REGULARIZERS: dict[str, Regularizer] = {}
"""All regularisers by name, in the order in which they are listed."""


def add(*regularizers: Regularizer) -> None:
    """List regularisers. Raises SpecError for a name that is listed already."""
    for regularizer in regularizers:
        if regularizer.name in REGULARIZERS:
            raise SpecError(f"regularizer: {regularizer.name!r} is listed already; give it another name")
        REGULARIZERS[regularizer.name] = regularizer


add(SA_SGLD)
