"""Files as Stable-Baselines3 writes them, and what its own networks make of some observations.

Made by `python tests/policy/peers/make_stable_baselines.py` with stable_baselines3 2.9.2, sb3_contrib 2.9.2,
torch 2.13.0+cpu, gymnasium 1.4.0, numpy 2.4.6 and Python 3.11.
"""

import io
import zipfile
from pathlib import Path

import numpy as np
import torch
from sb3_contrib import TQC, RecurrentPPO
from stable_baselines3 import A2C, DDPG, PPO, SAC, TD3
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

HERE = Path(__file__).parent


ALIKE = {"seed": 0, "device": "cpu"}


def small(**more):
    """Anew every time: the algorithms write into what they are given."""
    return {"net_arch": [6, 5], **more}


def smaller(path):
    """The same zip, deflated and without the optimisers, which nothing reads."""
    written = io.BytesIO(path.read_bytes())
    with zipfile.ZipFile(written) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            if "optimizer" not in name:
                new.writestr(name, old.read(name))


def kept(model, name):
    model.save(HERE / name)
    smaller(HERE / f"{name}.zip")


def observations(space):
    drawn = np.random.default_rng(0).normal(size=(8, *space.shape)) * 3
    drawn[0] *= 100  # beyond every clip
    return drawn.astype(np.float32)


expected = {}

env = VecNormalize(make_vec_env("Pendulum-v1", seed=0), clip_obs=5.0, epsilon=1e-4)
ppo = PPO("MlpPolicy", env, n_steps=64, batch_size=32, n_epochs=1, policy_kwargs=small(), **ALIKE)
ppo.learn(256)
kept(ppo, "sb3_ppo")
env.save(HERE / "sb3_vec_normalize.pkl")
seen = observations(env.observation_space)
with torch.no_grad():
    normalised = torch.as_tensor(env.normalize_obs(seen), dtype=torch.float32)
    expected["ppo/mean"] = ppo.policy.get_distribution(normalised).distribution.mean.numpy()
    expected["ppo/mean_without_filter"] = ppo.policy.get_distribution(
        torch.tensor(seen)
    ).distribution.mean.numpy()
    expected["ppo/std"] = ppo.policy.log_std.exp().numpy()
    expected["ppo/value"] = ppo.policy.predict_values(normalised).numpy()
    expected["ppo/observation"] = seen

a2c = A2C("MlpPolicy", "CartPole-v1", policy_kwargs=small(activation_fn=torch.nn.ELU), **ALIKE)
a2c.learn(64)
kept(a2c, "sb3_a2c")
seen = observations(a2c.observation_space)
with torch.no_grad():
    probabilities = a2c.policy.get_distribution(torch.tensor(seen)).distribution.probs.numpy()
expected |= {"a2c/observation": seen, "a2c/probabilities": probabilities}

for name, algorithm in {"sac": SAC, "tqc": TQC, "td3": TD3, "ddpg": DDPG}.items():
    model = algorithm("MlpPolicy", "Pendulum-v1", learning_starts=16, policy_kwargs=small(), **ALIKE)
    model.learn(32)
    kept(model, f"sb3_{name}")
    seen = observations(model.observation_space) / 10
    expected |= {f"{name}/observation": seen, f"{name}/action": model.predict(seen, deterministic=True)[0]}

sde = SAC("MlpPolicy", "Pendulum-v1", policy_kwargs=small(), use_sde=True, **ALIKE)
kept(sde, "sb3_sac_sde")

recurrent = RecurrentPPO("MlpLstmPolicy", "Pendulum-v1", policy_kwargs=small(lstm_hidden_size=4), **ALIKE)
kept(recurrent, "sb3_recurrent")

np.savez_compressed(HERE / "sb3_expected.npz", **expected)
