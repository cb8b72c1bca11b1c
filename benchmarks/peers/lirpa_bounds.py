"""auto_LiRPA's bounds on how far the mean action of the same policies can move, at the same states.

`delta` of a state is the length of the largest change of each action, in standard deviations, over the l_inf
ball of eps around the normalised observation: what an interval per action says about all of them together.
"""

import argparse

import numpy as np
import torch
from auto_LiRPA import BoundedModule, BoundedTensor, PerturbationLpNorm
from policies import Policy, policies
from serve import serve, timed
from torch import nn

METHODS = {"interval": "IBP", "crown": "backward", "alpha-crown": "CROWN-Optimized"}
"""By jaxprune's names."""

ITERATIONS = 20
"""Of the optimisation of alpha-CROWN, as in jaxprune."""


def in_standard_deviations(policy: Policy) -> nn.Sequential:
    """The network whose outputs are mean actions over standard deviations."""
    last = policy.mean_action[-1]
    last.weight.data /= policy.std[:, None]
    last.bias.data /= policy.std
    return policy.mean_action


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--policies", required=True, help="policies.npz, see policies.py")
    options.add_argument("--bound", choices=METHODS, default="crown")
    options.add_argument("--eps", type=float, default=0.075)
    options.add_argument("--members", type=int, default=10, help="how many of the policies")
    options.add_argument("--states", type=int, default=1000, help="how many of the states of each")
    chosen = options.parse_args()
    torch.set_num_threads(1)  # two processes side by side use two cores better than two threads do
    members = policies(chosen.policies)[: chosen.members]
    states = [policy.states[: chosen.states] for policy in members]
    networks = [in_standard_deviations(policy) for policy in members]
    bounded = [BoundedModule(*each) for each in zip(networks, states, strict=True)]
    for network in bounded:
        network.set_bound_opts({"optimize_bound_args": {"iteration": ITERATIONS}})
    ball = PerturbationLpNorm(norm=np.inf, eps=chosen.eps)

    def deltas(network: BoundedModule, clean: nn.Sequential, at: torch.Tensor) -> torch.Tensor:
        low, high = network.compute_bounds((BoundedTensor(at, ball),), method=METHODS[chosen.bound])
        with torch.no_grad():
            here = clean(at)
            return torch.maximum(high - here, here - low).norm(dim=1)

    def measure(_: int) -> dict[str, float]:
        found: list[torch.Tensor] = []

        def bound() -> int:
            found.extend(deltas(*each) for each in zip(bounded, networks, states, strict=True))
            return sum(map(len, found))

        return timed(bound) | {"result": float(torch.cat(found).mean())}

    serve(("auto_LiRPA", "torch", "numpy"), measure)


if __name__ == "__main__":
    main()
