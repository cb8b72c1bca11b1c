"""PPO in one file of PyTorch with the settings that CleanRL publishes for MuJoCo: training speed.

Written for this comparison after the description and settings of CleanRL's `ppo_continuous_action.py`
(Huang et al., CleanRL, JMLR 2022; Huang et al., The 37 implementation details of PPO, 2022): one environment,
2048 steps, 32 minibatches, 10 epochs, Adam 3e-4 (eps 1e-5) annealed to 0, clip 0.2 of ratio and values,
gamma 0.99, lambda 0.95, no entropy bonus, gradients clipped at 0.5, observations and rewards normalised.
"""

import argparse

import gymnasium
import numpy as np
import torch
from gymnasium import wrappers
from serve import serve, timed
from torch import nn

STEPS, MINIBATCHES, EPOCHS = 2048, 32, 10
RATE, CLIP, GAMMA, LAMBDA, VALUE_WEIGHT, LARGEST_GRADIENT = 3e-4, 0.2, 0.99, 0.95, 0.5, 0.5
TOTAL_ITERATIONS = 488
"""Of a million steps, over which the rate is annealed."""


def world(name: str) -> gymnasium.Env:
    """The task behind CleanRL's wrappers."""
    env = wrappers.RecordEpisodeStatistics(gymnasium.make(name))
    env = wrappers.NormalizeObservation(wrappers.ClipAction(env))
    env = wrappers.TransformObservation(env, lambda seen: np.clip(seen, -10, 10), env.observation_space)
    env = wrappers.NormalizeReward(env, gamma=GAMMA)
    return wrappers.TransformReward(env, lambda reward: float(np.clip(reward, -10, 10)))


def network(inputs: int, outputs: int, gain: float) -> nn.Sequential:
    """2 x 64 tanh, orthogonal weights."""
    layers = [nn.Linear(inputs, 64), nn.Linear(64, 64), nn.Linear(64, outputs)]
    for layer, scale in zip(layers, (2**0.5, 2**0.5, gain), strict=True):
        nn.init.orthogonal_(layer.weight, scale)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2])


class PPO:
    """One learner: environment, policy, value network, optimiser."""

    def __init__(self, env: str, seed: int) -> None:
        torch.manual_seed(seed)
        self.env = world(env)
        size, actions = self.env.observation_space.shape[0], self.env.action_space.shape[0]
        self.policy, self.value = network(size, actions, 0.01), network(size, 1, 1.0)
        self.log_std = nn.Parameter(torch.zeros(actions))
        self.parameters = [*self.policy.parameters(), self.log_std, *self.value.parameters()]
        self.adam = torch.optim.Adam(self.parameters, lr=RATE, eps=1e-5)
        self.seen, self.over, self.iteration = self._tensor(self.env.reset(seed=seed)[0]), 0.0, 0

    @staticmethod
    def _tensor(array: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(array, dtype=torch.float32)

    def distribution(self, seen: torch.Tensor) -> torch.distributions.Normal:
        """Of the action."""
        return torch.distributions.Normal(self.policy(seen), self.log_std.exp())

    def iterate(self) -> None:
        """Act for 2048 steps, then learn from them."""
        for group in self.adam.param_groups:
            group["lr"] = RATE * max(0.0, 1 - self.iteration / TOTAL_ITERATIONS)
        batch, rewards, overs = self.act()
        self.learn(*batch, *self.targets(rewards, batch[3], overs))
        self.iteration += 1

    @torch.no_grad()
    def act(self) -> tuple[tuple[torch.Tensor, ...], torch.Tensor, torch.Tensor]:
        """Observations, actions, their log-probabilities and values; rewards; whether a step began anew."""
        kept, rewards, overs = [], [], []
        for _ in range(STEPS):
            policy = self.distribution(self.seen)
            action = policy.sample()
            kept.append((self.seen, action, policy.log_prob(action).sum(), self.value(self.seen)[0]))
            overs.append(self.over)
            seen, reward, terminated, truncated, _ = self.env.step(action.numpy())
            rewards.append(reward)
            self.over = float(terminated or truncated)
            self.seen = self._tensor(self.env.reset()[0] if self.over else seen)
        return tuple(map(torch.stack, zip(*kept, strict=True))), torch.tensor(rewards), torch.tensor(overs)

    @torch.no_grad()
    def targets(
        self, rewards: torch.Tensor, values: torch.Tensor, overs: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Advantages by GAE, and what the value network should say."""
        alive = 1 - torch.cat([overs[1:], torch.tensor([self.over])])
        following = torch.cat([values[1:], self.value(self.seen)])
        deltas = rewards + GAMMA * following * alive - values
        advantages, carried = torch.zeros(STEPS), torch.tensor(0.0)
        for t in reversed(range(STEPS)):
            carried = deltas[t] + GAMMA * LAMBDA * alive[t] * carried
            advantages[t] = carried
        return advantages, advantages + values

    def learn(
        self,
        seen: torch.Tensor,
        actions: torch.Tensor,
        log_probs: torch.Tensor,
        values: torch.Tensor,
        advantages: torch.Tensor,
        returns: torch.Tensor,
    ) -> None:
        """Ten passes over the batch."""
        for _ in range(EPOCHS):
            for rows in torch.randperm(STEPS).chunk(MINIBATCHES):
                policy, value = self.distribution(seen[rows]), self.value(seen[rows])[:, 0]
                ratio = (policy.log_prob(actions[rows]).sum(1) - log_probs[rows]).exp()
                gain = advantages[rows]
                gain = (gain - gain.mean()) / (gain.std() + 1e-8)
                surrogate = torch.min(gain * ratio, gain * ratio.clamp(1 - CLIP, 1 + CLIP)).mean()
                near = values[rows] + (value - values[rows]).clamp(-CLIP, CLIP)
                missed = torch.max((value - returns[rows]) ** 2, (near - returns[rows]) ** 2).mean() / 2
                self.adam.zero_grad()
                (VALUE_WEIGHT * missed - surrogate).backward()
                nn.utils.clip_grad_norm_(self.parameters, LARGEST_GRADIENT)
                self.adam.step()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--env", default="Hopper-v5")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--iterations", type=int, default=8, help="iterations of a measurement")
    chosen = options.parse_args()
    torch.set_num_threads(1)  # of networks this small, more threads make one process slower
    ppo = PPO(chosen.env, chosen.seed)
    ppo.iterate()

    def train() -> int:
        for _ in range(chosen.iterations):
            ppo.iterate()
        return chosen.iterations * STEPS

    serve(("torch", "gymnasium", "mujoco"), lambda _: timed(train))


if __name__ == "__main__":
    main()
