"""ATLA: an adversary is trained against the agent, turn by turn, and shows it its observations."""

from functools import partial

from jaxprune.attacks import PaAd, SaRl
from jaxprune.training.regularizers.api import Regularizer
from jaxprune.training.regularizers.schedule import BUDGET

ADVERSARY = {"adversary_rate": 10.0, "adversary_entropy": 0.0}
"""adversary_rate: learning rate of the adversary over that of the agent. adversary_entropy: its bonus."""

ATLA = Regularizer(
    "atla", "a learned adversary (SA-RL), trained in turns with the agent", BUDGET | ADVERSARY, adversary=SaRl
)
PA_ATLA = Regularizer(
    "pa-atla",
    "a learned adversary (PA-AD), trained in turns with the agent",
    BUDGET | ADVERSARY,
    adversary=partial(PaAd, steps=1),
)
"""Zhang et al., ICLR 2021 (arXiv 2101.08452); Sun et al., ICLR 2022 (arXiv 2106.05087)."""
