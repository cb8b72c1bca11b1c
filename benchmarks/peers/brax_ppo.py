"""Brax's own PPO in Brax's own hopper: training speed.

Brax publishes no settings of PPO for its hopper. These are those of its halfcheetah (20 steps, 32
minibatches, 8 updates per batch, discount 0.95) with an eighth of the environments and of a minibatch, which
two cores can carry: 256 of 2048, and 64 unrolls of 512.
"""

import argparse
from queue import SimpleQueue
from threading import Thread
from typing import Any

from brax import envs
from brax.training.agents.ppo.train import train
from serve import serve

ENVIRONMENTS, UNROLL, BATCH, MINIBATCHES, UPDATES = 256, 20, 64, 32, 8
STEPS = BATCH * MINIBATCHES * UNROLL
"""Environment steps per iteration, as the library counts them."""

ITERATIONS = 100
"""At most; as many measurements and one to compile."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--env", default="hopper")
    options.add_argument("--backend", default="generalized", help="physics of Brax: generalized, spring, ...")
    chosen = options.parse_args()
    turns: SimpleQueue[int] = SimpleQueue()
    answers: SimpleQueue[dict[str, float]] = SimpleQueue()

    def tell(_: int, metrics: dict[str, Any]) -> None:
        answers.put({"amount": STEPS, "seconds": STEPS / float(metrics["training/sps"])})
        turns.get()

    # The trainer is one call, which only comes up for air in `tell`: there it waits for its turn.
    Thread(target=learn, args=(chosen.env, chosen.backend, tell), daemon=True).start()
    answers.get()  # the first iteration has been compiled

    def measure(turn: int) -> dict[str, float]:
        turns.put(turn)
        return answers.get()

    serve(("brax", "jax", "jaxlib"), measure)


def learn(env: str, backend: str, tell: Any) -> None:
    """Train, telling after every iteration."""
    train(
        environment=envs.get_environment(env, backend=backend),
        num_timesteps=STEPS * ITERATIONS,
        num_evals=ITERATIONS + 1,
        episode_length=1000,
        num_envs=ENVIRONMENTS,
        unroll_length=UNROLL,
        batch_size=BATCH,
        num_minibatches=MINIBATCHES,
        num_updates_per_batch=UPDATES,
        learning_rate=3e-4,
        entropy_cost=1e-3,
        discounting=0.95,
        normalize_observations=True,
        run_evals=False,
        progress_fn=tell,
    )


if __name__ == "__main__":
    main()
