"""Training under attack: what the agent is shown while it gathers experience."""

from functools import partial

from jaxprune.attacks import Critic, Mad, Uniform
from jaxprune.training.regularizers.api import Regularizer
from jaxprune.training.regularizers.schedule import BUDGET

STEPS = 5
"""Of the gradient attacks: each is paid for at every environment step."""

NOISE = Regularizer("noise", "experience under uniform noise", BUDGET, shows=Uniform)
ADVTRAIN_MAD = Regularizer("advtrain-mad", "experience under MAD", BUDGET, shows=partial(Mad, STEPS))
ADVTRAIN_CRITIC = Regularizer(
    "advtrain-critic", "experience under the critic attack", BUDGET, shows=partial(Critic, STEPS)
)
