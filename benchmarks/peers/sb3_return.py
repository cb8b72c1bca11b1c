"""Stable-Baselines3's PPO: seconds of training until ten clean episodes have the mean return asked for.

Every number it is sent is the seed of one more training from the start. The clock stands still while it is
looked at how good the policy is. A seed that does not get there has infinite seconds.
"""

import argparse
import time
from typing import Any

import gymnasium
from sb3_ppo import PACKAGES, SETTINGS, STEPS, learner
from serve import serve
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

EPISODES = 10


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--env", default="Hopper-v5")
    options.add_argument("--settings", choices=SETTINGS, default="defaults")
    options.add_argument("--goal", type=float, default=1000.0, help="return to reach")
    options.add_argument("--look", type=int, default=10, help="iterations of PPO between two looks")
    options.add_argument("--most", type=int, default=600_000, help="environment steps after which to give up")
    chosen = options.parse_args()
    serve(PACKAGES, lambda seed: reach(chosen, seed))


def reach(chosen: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Train one seed until it is there."""
    seconds, earned, began = 0.0, float("-inf"), time.perf_counter()
    ppo = learner(chosen.env, chosen.settings, seed)
    while ppo.num_timesteps < chosen.most:
        ppo.learn(chosen.look * STEPS, reset_num_timesteps=False)
        seconds += time.perf_counter() - began
        earned = clean_return(ppo, chosen.env)
        if earned >= chosen.goal:
            return {"amount": 1, "seconds": seconds, "result": earned}
        began = time.perf_counter()
    return {"amount": 1, "seconds": float("inf"), "result": earned}


def clean_return(ppo: PPO, env: str) -> float:
    """Mean undiscounted raw return of the deterministic policy, behind the filter that it has now."""
    world = VecNormalize(DummyVecEnv([lambda: gymnasium.make(env)]), training=False)
    world.norm_reward, world.obs_rms = False, ppo.get_env().obs_rms
    return float(evaluate_policy(ppo, world, EPISODES, warn=False)[0])


if __name__ == "__main__":
    main()
