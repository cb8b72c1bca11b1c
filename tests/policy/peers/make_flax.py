"""A plain MLP of flax, as msgpack and as safetensors, and what it makes of some observations.

Made by `python tests/policy/peers/make_flax.py` with flax 0.12.8, jax 0.10.1, safetensors 0.8.0, numpy 2.4.6
and Python 3.11.
"""

from pathlib import Path

import jax
import numpy as np
from flax import linen as nn
from flax.serialization import to_bytes
from flax.traverse_util import flatten_dict
from safetensors.flax import save_file

HERE = Path(__file__).parent


class Policy(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(6)(x))
        x = nn.relu(nn.Dense(5)(x))
        return nn.Dense(2)(x)


policy = Policy()
seen = jax.random.normal(jax.random.key(1), (8, 4)) * 20
params = policy.init(jax.random.key(0), seen)
(HERE / "flax_mlp.msgpack").write_bytes(to_bytes(params))
save_file(flatten_dict(params, sep="."), HERE / "flax_mlp.safetensors", {"activation": "relu"})
np.savez_compressed(HERE / "flax_expected.npz", observation=seen, output=policy.apply(params, seen))
