"""Stable-Baselines3's PPO: training speed on a Gymnasium task.

`defaults`: the library's own settings, which are those of the PPO paper for MuJoCo (one environment, 2048
steps, minibatches of 64, 10 epochs). `batched`: 16 environments x 128 steps and minibatches of 256, as
jaxprune does; that is less work per step. Observations and rewards are normalised, as RL Zoo does for MuJoCo.
"""

import argparse

import gymnasium
import torch
from serve import serve, timed
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

STEPS = 2048
"""Environment steps per iteration of PPO."""

SETTINGS = {"defaults": (1, 64), "batched": (16, 256)}
"""Environments, and size of a minibatch."""

PACKAGES = ("stable-baselines3", "torch", "gymnasium", "mujoco")


def learner(env: str, settings: str, seed: int) -> PPO:
    """A PPO that has learned nothing yet."""
    torch.set_num_threads(1)  # of networks this small, more threads make one process slower
    count, minibatch = SETTINGS[settings]
    worlds = VecNormalize(DummyVecEnv([lambda: gymnasium.make(env)] * count))
    return PPO("MlpPolicy", worlds, n_steps=STEPS // count, batch_size=minibatch, seed=seed, device="cpu")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--env", default="Hopper-v5")
    options.add_argument("--settings", choices=SETTINGS, default="defaults")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--warm-up", type=int, default=1, help="iterations before the first measurement")
    options.add_argument("--iterations", type=int, default=8, help="iterations of a measurement")
    chosen = options.parse_args()
    ppo = learner(chosen.env, chosen.settings, chosen.seed)

    def train(iterations: int) -> int:
        ppo.learn(iterations * STEPS, reset_num_timesteps=False)
        return iterations * STEPS

    if chosen.warm_up:
        train(chosen.warm_up)
    serve(PACKAGES, lambda _: timed(lambda: train(chosen.iterations)))


if __name__ == "__main__":
    main()
