"""State dicts of CleanRL's SAC and TD3 actors in safetensors, and the actions they take at some observations.

The networks are those of `sac_continuous_action.py` and `td3_continuous_action.py`
(https://github.com/vwxyzjn/cleanrl), but narrower. Made by
`python tests/policy/peers/make_cleanrl_squashed.py` with torch 2.13.0+cpu, safetensors 0.8.0, numpy
2.4.6 and Python 3.11.
"""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

HERE = Path(__file__).parent
WIDTH, LOW, HIGH = 6, -0.5, 2.0


class Actor(nn.Module):
    """What both have in common: two layers of ReLU, and the range of the actions."""

    def __init__(self, observations, actions):
        super().__init__()
        self.fc1 = nn.Linear(observations, WIDTH)
        self.fc2 = nn.Linear(WIDTH, WIDTH)
        self.register_buffer("action_scale", torch.full((actions,), (HIGH - LOW) / 2))
        self.register_buffer("action_bias", torch.full((actions,), (HIGH + LOW) / 2))

    def hidden(self, x):
        return torch.relu(self.fc2(torch.relu(self.fc1(x))))


class Sac(Actor):
    def __init__(self, observations, actions):
        super().__init__(observations, actions)
        self.fc_mean = nn.Linear(WIDTH, actions)
        self.fc_logstd = nn.Linear(WIDTH, actions)

    def forward(self, x):
        """The mean action, which CleanRL calls `mean`."""
        return torch.tanh(self.fc_mean(self.hidden(x))) * self.action_scale + self.action_bias


class Td3(Actor):
    def __init__(self, observations, actions):
        super().__init__(observations, actions)
        self.fc_mu = nn.Linear(WIDTH, actions)

    def forward(self, x):
        return torch.tanh(self.fc_mu(self.hidden(x))) * self.action_scale + self.action_bias


torch.manual_seed(0)
seen = torch.randn(8, 4) * 3
found = {"observation": seen.numpy()}
for name, kind in {"sac": Sac, "td3": Td3}.items():
    actor = kind(4, 2)
    save_file(actor.state_dict(), HERE / f"cleanrl_{name}.safetensors")
    with torch.no_grad():
        found[name] = actor(seen).numpy()
np.savez_compressed(HERE / "cleanrl_squashed_expected.npz", **found)
