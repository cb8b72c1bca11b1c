"""State dicts of CleanRL's PPO agents in safetensors, and what the agents make of some observations.

The networks are those of `ppo_continuous_action.py` and `ppo.py` (https://github.com/vwxyzjn/cleanrl), but
narrower. Made by `python tests/policy/peers/make_cleanrl.py` with torch 2.13.0+cpu, safetensors 0.8.0, numpy
2.4.6 and Python 3.11.
"""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

HERE = Path(__file__).parent
WIDTH = 6


def layer(inputs, outputs, std=2**0.5):
    made = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(made.weight, std)
    nn.init.normal_(made.bias)
    return made


def network(inputs, outputs, std):
    return nn.Sequential(
        layer(inputs, WIDTH), nn.Tanh(), layer(WIDTH, WIDTH), nn.Tanh(), layer(WIDTH, outputs, std)
    )


class Continuous(nn.Module):
    def __init__(self, observations, actions):
        super().__init__()
        self.critic = network(observations, 1, 1.0)
        self.actor_mean = network(observations, actions, 0.5)
        self.actor_logstd = nn.Parameter(torch.full((1, actions), -0.5))


class Discrete(nn.Module):
    def __init__(self, observations, actions):
        super().__init__()
        self.critic = network(observations, 1, 1.0)
        self.actor = network(observations, actions, 0.5)


torch.manual_seed(0)
seen = torch.randn(8, 4) * 3
continuous, discrete = Continuous(4, 2), Discrete(4, 3)
save_file(continuous.state_dict(), HERE / "cleanrl_continuous.safetensors")
save_file(discrete.state_dict(), HERE / "cleanrl_discrete.safetensors")

# What its wrappers NormalizeObservation and TransformObservation do before the agent sees anything.
mean, variance = torch.tensor([0.5, -1.0, 2.0, 0.0]), torch.tensor([1.0, 0.25, 4.0, 9.0])
counted = {"obs_rms.mean": mean, "obs_rms.var": variance, "obs_rms.count": torch.tensor(1000.0)}
save_file(continuous.state_dict() | counted, HERE / "cleanrl_filtered.safetensors")
filtered = torch.clip((seen - mean) / torch.sqrt(variance + 1e-8), -10, 10)

with torch.no_grad():
    np.savez_compressed(
        HERE / "cleanrl_expected.npz",
        observation=seen.numpy(),
        mean=continuous.actor_mean(seen).numpy(),
        mean_filtered=continuous.actor_mean(filtered).numpy(),
        value=continuous.critic(seen).numpy(),
        logits=discrete.actor(seen).numpy(),
    )
