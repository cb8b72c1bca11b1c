"""Parameters of Brax's PPO as it saves them, and what its own policies make of some observations.

The networks are Brax's, narrower, at their start: its trainer asks for an older JAX. The filter has seen a
batch. Made by `python tests/policy/peers/make_brax.py` with brax 0.14.2, jax 0.10.1, flax 0.12.8, numpy 2.4.6
and Python 3.11.
"""

import shutil
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import flax
import jax
import jax.numpy as jnp
import numpy as np
from brax.io import model
from brax.training.acme import running_statistics
from brax.training.agents.ppo import checkpoint, networks

HERE = Path(__file__).parent
OBSERVATIONS, ACTIONS = 4, 2
SMALL = {"policy_hidden_layer_sizes": (6, 5), "value_hidden_layer_sizes": (7,)}

KINDS = {
    "squashed": SMALL,
    "gaussian": SMALL | {"distribution_type": "normal", "activation": flax.linen.tanh, "init_noise_std": 0.5},
}

draw = np.random.default_rng(0)
state = running_statistics.init_state(jnp.zeros(OBSERVATIONS))
state = running_statistics.update(
    state, jnp.asarray(draw.normal(size=(64, OBSERVATIONS)) * [1, 2, 3, 0.1] + 1)
)
seen = jnp.asarray(draw.normal(size=(8, OBSERVATIONS)) * 10, jnp.float32)
expected = {"observation": seen}
for name, settings in KINDS.items():
    factory = partial(networks.make_ppo_networks, **settings)
    made = factory(OBSERVATIONS, ACTIONS, preprocess_observations_fn=running_statistics.normalize)
    keys = jax.random.split(jax.random.key(0))
    params = (state, made.policy_network.init(keys[0]), made.value_network.init(keys[1]))
    model.save_params(HERE / f"brax_{name}.params", params)
    policy = networks.make_inference_fn(made)(params, deterministic=True)
    expected[f"{name}/action"] = policy(seen, jax.random.key(0))[0]
    expected[f"{name}/value"] = made.value_network.apply(state, params[2], seen)
    if name == "squashed":
        config = checkpoint.network_config(OBSERVATIONS, ACTIONS, True, factory)
        with TemporaryDirectory() as folder:
            checkpoint.save(folder, 0, params, config)
            shutil.make_archive(str(HERE / "brax_checkpoint"), "zip", folder)
np.savez_compressed(HERE / "brax_expected.npz", **expected)
