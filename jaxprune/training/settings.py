"""The settings of PPO, declared once: options of a sweep, and leaves of the program that learns."""

import math
from dataclasses import dataclass

from jaxprune.errors import SpecError


@dataclass(frozen=True)
class PPOSettings:
    """Settings of PPO that shape no array. The defaults learn Hopper in under a million steps."""

    learning_rate: float = 3e-4
    """Step size of Adam at the start."""
    anneal: bool = True
    """Lower the step size linearly to zero over the training."""
    discount: float = 0.99
    """Discount per step."""
    gae_lambda: float = 0.95
    """Trace decay of generalised advantage estimation."""
    clip: float = 0.2
    """Clip range of the probability ratio."""
    entropy_weight: float = 0.0
    """Weight of the entropy bonus."""
    value_weight: float = 0.5
    """Weight of the value loss."""
    max_gradient_norm: float = 0.5
    """Largest global norm of a gradient."""

    def check_settings(self) -> None:
        """Raise SpecError for a number outside its range."""
        for field in ("learning_rate", "max_gradient_norm", "clip"):
            if not 0 < getattr(self, field) < math.inf:
                raise SpecError(f"{field}: {getattr(self, field)} must be a finite number above 0")
        for field in ("entropy_weight", "value_weight"):
            if not 0 <= getattr(self, field) < math.inf:
                raise SpecError(f"{field}: {getattr(self, field)} must be a finite number of at least 0")
        if not 0 <= self.discount < 1:
            raise SpecError(f"discount: {self.discount} must be in [0, 1)")
        if not 0 <= self.gae_lambda <= 1:
            raise SpecError(f"gae_lambda: {self.gae_lambda} must be in [0, 1]")
