"""Files that other libraries wrote (`peers/make_*.py`): our outputs are those of their own networks."""

import json
import pickle
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxprune import envs
from jaxprune.envs import squash
from jaxprune.errors import SpecError
from jaxprune.policy import agent as agents
from jaxprune.policy.files import READERS, PolicyFile, fit, read_agent, read_policy, tensors

PEERS = Path(__file__).parent / "peers"


def expected(family):
    with np.load(PEERS / f"{family}_expected.npz") as arrays:
        return dict(arrays)


def outputs(policy, observations):
    """Means or logits at raw observations, squashed where the policy squashes."""
    agent = policy.agent
    found = jax.vmap(lambda s: agent.output(agent.normalise(s)))(jnp.asarray(observations))
    return found if policy.squash is None else squash(found, *policy.squash)


def values(policy, observations):
    agent = policy.agent
    return jax.vmap(lambda s: agent.state_value(agent.normalise(s)))(jnp.asarray(observations))


def close(found, theirs):
    np.testing.assert_allclose(found, np.asarray(theirs), rtol=1e-6, atol=1e-6)


# --- Stable-Baselines3 -----------------------------------------------------------------------------------


def test_ppo_with_and_without_its_vec_normalize():
    theirs = expected("sb3")
    seen = theirs["ppo/observation"]
    filtered = read_policy(PEERS / "sb3_ppo.zip", normalizer=PEERS / "sb3_vec_normalize.pkl")
    assert filtered.agent.normalizer.clip == 5
    assert filtered.agent.normalizer.count > 256
    close(outputs(filtered, seen), theirs["ppo/mean"])
    close(values(filtered, seen), theirs["ppo/value"][:, 0])
    close(np.exp(filtered.agent.log_std), theirs["ppo/std"])
    bare = read_policy(PEERS / "sb3_ppo.zip")
    assert bare.filter_elsewhere
    close(outputs(bare, seen), theirs["ppo/mean_without_filter"])


def test_a2c_of_discrete_actions():
    theirs = expected("sb3")
    policy = read_policy(PEERS / "sb3_a2c.zip")
    assert policy.agent.activation == "elu"
    close(jax.nn.softmax(outputs(policy, theirs["a2c/observation"])), theirs["a2c/probabilities"])
    agent, env = fit(policy, envs.make("cartpole"))
    assert agent.discrete
    assert not env.squashes


@pytest.mark.parametrize("algorithm", ["sac", "tqc", "td3", "ddpg"])
def test_squashed_actors_are_deterministic(algorithm):
    theirs = expected("sb3")
    policy = read_policy(PEERS / f"sb3_{algorithm}.zip")
    assert policy.squash == (-2, 2)
    close(outputs(policy, theirs[f"{algorithm}/observation"]), theirs[f"{algorithm}/action"])
    assert not np.any(jnp.exp(policy.agent.log_std))
    assert not np.any(values(policy, theirs[f"{algorithm}/observation"]))


@pytest.mark.parametrize(
    ("file", "what"),
    [("recurrent", "a recurrent agent"), ("sac_sde", "an agent that explores with gSDE")],
)
def test_what_is_no_plain_network_is_named(file, what):
    with pytest.raises(SpecError, match=f"{what}.*; what can be read: ") as refused:
        read_policy(PEERS / f"sb3_{file}.zip")
    assert "\n" not in str(refused.value)
    assert all(reader.about in str(refused.value) for reader in READERS)


@pytest.mark.parametrize(
    ("space", "kind", "what"),
    [
        ("observation_space", "Dict", "an agent whose observation space is a Dict"),
        ("action_space", "MultiDiscrete", "an agent whose action space is a MultiDiscrete"),
    ],
)
def test_other_spaces_are_named(tmp_path, space, kind, what):
    path = changed(tmp_path, {space: {":type:": f"<class 'gymnasium.spaces.x.{kind}'>"}})
    with pytest.raises(SpecError, match=what):
        read_policy(path)


def changed(tmp_path, settings):
    """The PPO agent with other settings."""
    path = tmp_path / "agent.zip"
    with zipfile.ZipFile(PEERS / "sb3_ppo.zip") as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, json.dumps(json.loads(content) | settings) if name == "data" else content)
    return path


# --- VecNormalize ----------------------------------------------------------------------------------------


class Call:
    """Pickled as the call of a global."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_code_in_a_normalizer_is_refused_and_not_run(tmp_path):
    trace = tmp_path / "trace"
    (tmp_path / "vec.pkl").write_bytes(pickle.dumps(Call(Path.touch, trace)))
    with pytest.raises(SpecError, match=r"normalizer: .*vec.pkl: it asks for pathlib"):
        read_policy(PEERS / "sb3_ppo.zip", normalizer=tmp_path / "vec.pkl")
    (tmp_path / "agent").write_bytes(pickle.dumps(Call(Path.touch, trace)))
    with pytest.raises(SpecError, match=r"agent: .*it asks for pathlib"):
        read_policy(tmp_path / "agent")
    assert not trace.exists()


def test_another_pickle_is_no_normalizer(tmp_path):
    (tmp_path / "vec.pkl").write_bytes(pickle.dumps({"mean": np.zeros(3)}))
    with pytest.raises(SpecError, match="it is no VecNormalize"):
        read_policy(PEERS / "sb3_ppo.zip", normalizer=tmp_path / "vec.pkl")


def test_a_normalizer_of_other_features_is_refused():
    with pytest.raises(SpecError, match=r"it filters observations of shape \(3,\), and the policy reads 4"):
        read_policy(PEERS / "sb3_a2c.zip", normalizer=PEERS / "sb3_vec_normalize.pkl")


@pytest.mark.parametrize("file", ["cleanrl_filtered.safetensors", "brax_squashed.params"])
def test_an_agent_that_brings_its_filter_takes_no_other(file):
    with pytest.raises(SpecError, match="it brings its own observation filter"):
        read_policy(PEERS / file, normalizer=PEERS / "sb3_vec_normalize.pkl")


# --- Brax ------------------------------------------------------------------------------------------------


@pytest.fixture(name="checkpoint", scope="module")
def _checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("brax")
    with zipfile.ZipFile(PEERS / "brax_checkpoint.zip") as archive:
        archive.extractall(folder)
    return folder / "000000000000"


def test_brax_parameters_and_checkpoint(checkpoint):
    theirs = expected("brax")
    seen = theirs["observation"]
    for path in (PEERS / "brax_squashed.params", checkpoint):
        policy = read_policy(path)
        assert policy.squash == (-1, 1)
        assert policy.agent.activation == "swish"
        close(outputs(policy, seen), theirs["squashed/action"])
        close(values(policy, seen), theirs["squashed/value"])


def test_a_gaussian_policy_of_brax():
    theirs = expected("brax")
    policy = read_policy(PEERS / "brax_gaussian.params", activation="tanh")
    assert policy.squash is None
    close(outputs(policy, theirs["observation"]), theirs["gaussian/action"])
    close(np.exp(policy.agent.log_std), [0.5, 0.5])


def test_an_activation_that_a_checkpoint_contradicts_is_refused(checkpoint):
    with pytest.raises(SpecError, match="its activation is swish, not relu; leave --activation out"):
        read_policy(checkpoint, activation="relu")


# --- CleanRL and flax ------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["sac", "td3"])
def test_the_squashed_actors_of_cleanrl_are_deterministic(algorithm):
    theirs = expected("cleanrl_squashed")
    policy = read_policy(PEERS / f"cleanrl_{algorithm}.safetensors")
    assert policy.squash == (-0.5, 2) and policy.agent.activation == "relu" and policy.filter_elsewhere
    close(outputs(policy, theirs["observation"]), theirs[algorithm])
    assert not np.any(jnp.exp(policy.agent.log_std))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"action_bias": np.float32([0, 1])}, "one range for all of them can be read"),
        ({"lstm.weight_ih_l0": np.ones((3, 3), np.float32)}, "a recurrent agent; what can be read: "),
        ({"conv1.weight": np.ones((3, 3), np.float32)}, "an agent that sees images; what can be read: "),
    ],
    ids=["ranges", "recurrent", "images"],
)
def test_squashed_actors_that_cannot_be_read_are_named_in_one_line(tmp_path, changed, said):
    arrays = tensors.arrays((PEERS / "cleanrl_sac.safetensors").read_bytes()) | changed
    path = tmp_path / "actor.safetensors"
    save_file(arrays, path)
    with pytest.raises(SpecError, match=said) as refused:
        read_policy(path)
    assert "\n" not in str(refused.value)


def test_cleanrl():
    theirs = expected("cleanrl")
    seen = theirs["observation"]
    policy = read_policy(PEERS / "cleanrl_continuous.safetensors")
    close(outputs(policy, seen), theirs["mean"])
    close(values(policy, seen), theirs["value"][:, 0])
    np.testing.assert_array_equal(policy.agent.log_std, [-0.5, -0.5])
    filtered = read_policy(PEERS / "cleanrl_filtered.safetensors")
    close(outputs(filtered, seen), theirs["mean_filtered"])
    discrete = read_policy(PEERS / "cleanrl_discrete.safetensors")
    assert discrete.agent.discrete
    close(outputs(discrete, seen), theirs["logits"])


def test_a_network_of_flax():
    theirs = expected("flax")
    for suffix, activation in (("safetensors", None), ("msgpack", "relu")):
        policy = read_policy(PEERS / f"flax_mlp.{suffix}", activation=activation)
        close(outputs(policy, theirs["observation"]), theirs["output"])
    with pytest.raises(SpecError, match=r"does not say what stands .* give --activation \(tanh, relu, elu"):
        read_policy(PEERS / "flax_mlp.msgpack")
    with pytest.raises(SpecError, match=r"unknown name 'rely'; did you mean 'relu'\?"):
        read_policy(PEERS / "flax_mlp.msgpack", activation="rely")


# --- Tasks -----------------------------------------------------------------------------------------------


def test_outputs_of_which_nobody_says_what_they_are_fit_either_kind_of_task():
    policy = read_policy(PEERS / "flax_mlp.safetensors")
    assert fit(policy, envs.make("cartpole"))[0].discrete
    assert not policy.agent.discrete


def test_what_does_not_fit_a_task_is_refused():
    with pytest.raises(SpecError, match=r"it gives continuous actions, and cartpole takes discrete ones"):
        fit(read_policy(PEERS / "cleanrl_continuous.safetensors"), envs.make("cartpole"))
    with pytest.raises(SpecError, match="its actions are squashed by tanh"):
        read_agent(PEERS / "sb3_sac.zip")
    env = envs.make("probe/linear")
    policy = PolicyFile(agents.init(jax.random.key(0), 4, 1, hidden=(2,)), squash=(-2.0, 2.0))
    with pytest.raises(SpecError, match=r"squashed to \[-2, 2\], those of probe/linear lie in \[-1, 1\]"):
        fit(policy, env)
    assert fit(policy._replace(squash=(-1.0, 1.0)), env)[1] is envs.squashed(env)


# --- Broken files ----------------------------------------------------------------------------------------

POLICIES = (".params", ".safetensors", ".msgpack", ".zip")
FILES = sorted(path.name for path in PEERS.iterdir() if path.suffix in POLICIES)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_was_cut_off_is_refused_in_one_line(tmp_path, name):
    """A file that has lost its end is not one, wherever it was cut; nothing but SpecError comes out."""
    content = (PEERS / name).read_bytes()
    for share in (0.0, 0.01, 0.1, 0.5, 0.9, 0.99):
        cut = tmp_path / "cut"
        cut.write_bytes(content[: int(share * len(content))])
        with pytest.raises(SpecError, match=r"^agent: .*cut: [^\n]*$"):
            read_policy(cut, activation="tanh" if name.startswith("flax") else None)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_normalizer_that_was_cut_off_is_refused(tmp_path, share):
    content = (PEERS / "sb3_vec_normalize.pkl").read_bytes()
    (tmp_path / "cut").write_bytes(content[: int(share * len(content))])
    with pytest.raises(SpecError, match=r"^normalizer: .*cut: [^\n]*$"):
        read_policy(PEERS / "sb3_ppo.zip", normalizer=tmp_path / "cut")
