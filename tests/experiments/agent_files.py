"""Files of agents for the commands to read."""

from pathlib import Path

import numpy as np


def write_agent(path: Path, features: int, actions: int, log_std: float = 0.0) -> Path:
    """A random agent as the SA-PPO family's arrays."""
    draw = np.random.default_rng(0)
    arrays = {}
    for name, sizes, last in (
        ("policy_model", (features, 8, actions), "final_mean"),
        ("val_model", (features, 8, 1), "final"),
    ):
        for layer, n, m in (("affine_layers.0", *sizes[:2]), (last, *sizes[1:])):
            arrays[f"{name}/{layer}.weight"] = draw.normal(size=(m, n))
            arrays[f"{name}/{layer}.bias"] = draw.normal(size=m)
    np.savez(
        path,
        **arrays,
        **{"policy_model/log_stdev": np.full(actions, log_std), "obs_clip": 10.0},
        obs_mean=np.zeros(features),
        obs_std=np.ones(features),
    )
    return path
