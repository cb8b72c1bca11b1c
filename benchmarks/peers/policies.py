"""The policies that both sides attack and bound, as the file `policies.npz` has them.

Every array has a leading axis [member]: `weight_I` [out, in] and `bias_I` [out] of layer I, `std` [act] of
the actions, `mean` and `scale` [obs] of the observation filter, `states` [state, obs] that were visited,
behind the filter.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import nn

CLIP = 10.0
"""Of the filtered observation."""


class Policy(NamedTuple):
    """One member."""

    mean_action: nn.Sequential
    std: torch.Tensor
    mean: np.ndarray
    scale: np.ndarray
    states: torch.Tensor

    def filtered(self, observation: np.ndarray) -> torch.Tensor:
        """What the network reads of an observation."""
        seen = np.clip((observation - self.mean) / self.scale, -CLIP, CLIP)
        return torch.as_tensor(seen, dtype=torch.float32)


def policies(path: str) -> list[Policy]:
    """All members of the file."""
    arrays = dict(np.load(path))
    count = len([name for name in arrays if name.startswith("weight_")])

    def member(row: int) -> Policy:
        layers: list[nn.Module] = []
        for i in range(count):
            weight, bias = (torch.as_tensor(arrays[f"{kind}_{i}"][row]) for kind in ("weight", "bias"))
            layer = nn.Linear(weight.shape[1], weight.shape[0])
            layer.weight.data, layer.bias.data = weight.clone(), bias.clone()
            layers += [layer, nn.Tanh()]
        std, states = (torch.as_tensor(arrays[name][row]) for name in ("std", "states"))
        return Policy(nn.Sequential(*layers[:-1]), std, arrays["mean"][row], arrays["scale"][row], states)

    return [member(row) for row in range(len(arrays["std"]))]
