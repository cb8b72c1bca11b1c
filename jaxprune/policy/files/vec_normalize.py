"""The observation filter that Stable-Baselines3 keeps beside an agent: a pickle of its `VecNormalize`.

`clip((s - mean) / sqrt(var + epsilon), ±clip_obs)`, all five read from the file.
"""

import io
from typing import Any

import numpy as np

from jaxprune.errors import SpecError
from jaxprune.policy import normalizer
from jaxprune.policy.files import pickles
from jaxprune.policy.files.record import observation_filter, variance_of
from jaxprune.policy.normalizer import Normalizer

KIND = "stable_baselines3.common.vec_env.vec_normalize.VecNormalize"

HUSKS = ("stable_baselines3.", "gymnasium.", "gym.", "numpy.random.")
"""Modules whose objects it carries along: read as husks, the modules never imported."""


def read_vec_normalize(content: bytes, features: int) -> Normalizer:
    """The filter, for a policy of so many features. Raises SpecError for what is none."""
    saved = pickles.Reader(io.BytesIO(content), HUSKS).load()
    if getattr(saved, "kind", None) != KIND:
        raise SpecError("it is no VecNormalize of Stable-Baselines3")
    state: dict[str, Any] = saved.state
    if not state["norm_obs"]:
        return normalizer.init((features,)).replace(clip=float("inf"))
    seen = state["obs_rms"]
    if not isinstance(seen, pickles.Husk):
        raise SpecError("it filters observations that are dicts; one vector can be read")
    mean, variance, count = (seen.state[name] for name in ("mean", "var", "count"))
    std = np.sqrt(variance.read() + pickles.number(state["epsilon"]))
    clip = pickles.number(state["clip_obs"])
    found = observation_filter(mean.read(), variance_of(std), pickles.number(count), clip)
    if found.mean.shape != (features,):
        raise SpecError(
            f"it filters observations of shape {found.mean.shape}, and the policy reads {features} features"
        )
    return found
