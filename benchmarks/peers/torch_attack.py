"""Evaluation under MAD as it is published: one episode at a time, PyTorch for the attack, Gymnasium to step.

Written for this comparison after the description of SA-PPO's attack on the action (Zhang et al., NeurIPS
2020, arXiv 2003.08938): from a random corner of one stride eps / K, K sign steps up the squared difference of
the actions in standard deviations, within the l_inf ball of eps around the normalised observation. The
deterministic policy acts on what it is shown. The Langevin noise of the published steps is left out.
"""

import argparse
from itertools import count

import gymnasium
import torch
from policies import Policy, policies
from serve import serve, timed


def mad(policy: Policy, x: torch.Tensor, eps: float, steps: int) -> torch.Tensor:
    """What the policy is shown in place of x."""
    stride = eps / steps
    with torch.no_grad():
        clean = policy.mean_action(x)
    shown = x + stride * torch.randn_like(x).sign()
    for _ in range(steps):
        shown.requires_grad_()
        difference = (((policy.mean_action(shown) - clean) / policy.std) ** 2).sum()
        (slope,) = torch.autograd.grad(difference, shown)
        shown = (shown.detach() + stride * slope.sign()).clamp(x - eps, x + eps)
    return shown


def episode(env: gymnasium.Env, policy: Policy, seed: int, eps: float, steps: int) -> tuple[int, float]:
    """Length and return of one episode under attack."""
    observation, total, over, length = env.reset(seed=seed)[0], 0.0, False, 0
    while not over:
        shown = mad(policy, policy.filtered(observation), eps, steps)
        with torch.no_grad():
            action = policy.mean_action(shown).clamp(-1, 1).numpy()
        observation, reward, terminated, truncated, _ = env.step(action)
        total, length, over = total + float(reward), length + 1, terminated or truncated
    return length, total


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--env", default="Hopper-v5")
    options.add_argument("--policies", required=True, help="policies.npz, see policies.py")
    options.add_argument("--eps", type=float, default=0.075)
    options.add_argument("--steps", type=int, default=10, help="of the ascent")
    options.add_argument("--episodes", type=int, default=1, help="of each member in a measurement")
    options.add_argument("--seed", type=int, default=0, help="of the first start state")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(chosen.seed)
    env, members, seeds = gymnasium.make(chosen.env), policies(chosen.policies), count(chosen.seed)

    def measure(_: int) -> dict[str, float]:
        returns: list[float] = []

        def play() -> int:
            played = [
                episode(env, policy, next(seeds), chosen.eps, chosen.steps)
                for policy in members
                for _ in range(chosen.episodes)
            ]
            returns.extend(total for _, total in played)
            return sum(length for length, _ in played)

        return timed(play) | {"result": sum(returns) / len(returns)}

    serve(("torch", "gymnasium", "mujoco"), measure)


if __name__ == "__main__":
    main()
