"""Files as NumPy, PyTorch and Stable-Baselines3 write them, made here by hand: PyTorch is not installed."""

import io
import json
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jaxprune.errors import SpecError
from jaxprune.policy.files import check_sizes, read_adversary, read_agent, readable
from jaxprune.policy.files.torch_files import LEGACY_MAGIC

OBS, ACT = 4, 2
RELEASED = Path(__file__).parents[3] / "shared" / "released_agents"


# --- Writing what PyTorch writes -------------------------------------------------------------------------


class Global:
    """Pickled as the bare name `module.name`, whether or not there is such a thing."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Tensor:
    """Pickled as PyTorch pickles a tensor: a call of `_rebuild_tensor_v2` on a persistent storage."""

    def __init__(self, array, storage="FloatStorage"):
        self.array, self.storage = np.asarray(array), storage


class Call:
    """Pickled as the call of a global."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments


class Object:
    """Pickled as an object of a class that is not there, with these attributes."""

    def __init__(self, module, name, **attributes):
        self.kind, self.attributes = Global(module, name), attributes


class Writer(pickle._Pickler):
    """The pickler in Python, taught the four things above; it collects the storages by key."""

    def __init__(self, file):
        super().__init__(file, protocol=2)
        self.arrays = {}

    def persistent_id(self, thing):
        if isinstance(thing, tuple) and thing and thing[0] == "storage marker":
            _, key, kind, numel = thing
            return ("storage", Global("torch", kind), key, "cpu", numel)
        return None

    def save(self, thing, save_persistent_id=True):
        if isinstance(thing, Global):
            self.write(b"c" + f"{thing.module}\n{thing.name}\n".encode())
        elif isinstance(thing, Call):
            self.save(thing.function)
            self.save(thing.arguments)
            self.write(pickle.REDUCE)
        elif isinstance(thing, Object):
            self.save(thing.kind)
            self.write(pickle.EMPTY_TUPLE + pickle.NEWOBJ)
            if thing.attributes:
                self.save(thing.attributes)
                self.write(pickle.BUILD)
        elif isinstance(thing, Tensor):
            key = str(len(self.arrays))
            self.arrays[key] = thing.array
            array = thing.array
            stride = tuple(step // array.itemsize for step in array.strides)
            marker = ("storage marker", key, thing.storage, array.size)
            rebuild = Global("torch._utils", "_rebuild_tensor_v2")
            self.save(Call(rebuild, marker, 0, array.shape, stride, False, OrderedDict()))
        else:
            super().save(thing, save_persistent_id)


def memory_order(array):
    """The numbers as they lie in memory, which is what a storage holds."""
    return array.ravel(order="K").tobytes()


def torch_zip(thing):
    body = io.BytesIO()
    writer = Writer(body)
    writer.dump(thing)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", body.getvalue())
        for key, array in writer.arrays.items():
            archive.writestr(f"archive/data/{key}", memory_order(array))
        archive.writestr("archive/version", "3\n")
    return file.getvalue()


def torch_legacy(thing):
    file = io.BytesIO()
    for header in (LEGACY_MAGIC, 1001, {"little_endian": True, "type_sizes": {"int": 4}}):
        pickle.dump(header, file, protocol=2)
    writer = Writer(file)
    writer.dump(thing)
    pickle.dump(list(writer.arrays), file, protocol=2)
    for array in writer.arrays.values():
        file.write(struct.pack("<q", array.size) + memory_order(array))
    return file.getvalue()


# --- Agents ----------------------------------------------------------------------------------------------


def draw(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def network(outputs, last, inputs=OBS):
    return OrderedDict(
        {
            "affine_layers.0.weight": draw(8, inputs),
            "affine_layers.0.bias": draw(8),
            "affine_layers.1.weight": np.asfortranarray(draw(8, 8)),
            "affine_layers.1.bias": draw(8),
            f"{last}.weight": draw(outputs, 8),
            f"{last}.bias": draw(outputs),
        }
    )


def sa_ppo():
    spread = {"log_stdev": np.full(ACT, -100.0, np.float32)}
    return {
        "policy_model": spread | network(ACT, "final_mean"),
        "val_model": network(1, "final"),
        "adversary_policy_model": {"log_stdev": draw(OBS)} | network(OBS, "final_mean"),
        "adversary_val_model": network(1, "final"),
    }


MEAN, STD = np.array([0.0, 1.0, -2.0, 3.0]), np.array([1.0, 0.5, 2.0, 0.1])


def npz(path, parts, **changes):
    arrays = {f"{part}/{name}": array for part in parts for name, array in parts[part].items()}
    np.savez(path, **arrays, **({"obs_mean": MEAN, "obs_std": STD, "obs_clip": np.array(10.0)} | changes))
    return path


FILTERS = "policy_gradients.torch_utils"


def published():
    count = 101
    seen = Object(FILTERS, "RunningStat", _n=count, _M=MEAN.copy(), _S=STD**2 * (count - 1))
    physics = Object(
        "gym.envs.mujoco.hopper", "HopperEnv", np_random=np.random.RandomState(0), reward=np.float64(3.0)
    )
    env = Object(
        "policy_gradients.custom_env",
        "Env",
        env=physics,
        state_filter=Object(FILTERS, "ZFilter", prev_filter=Object(FILTERS, "Identity"), rs=seen, clip=10.0),
    )
    parts = {
        part: OrderedDict((name, Tensor(array)) for name, array in arrays.items())
        for part, arrays in sa_ppo().items()
    }
    return parts | {"envs": [env], "policy_opt": {"state": {}, "lr": 1e-3}}


def check_sa_ppo(agent):
    parts = sa_ppo()
    check_sizes(agent, OBS, ACT)
    for mine, theirs, last in (
        (agent.policy, "policy_model", "final_mean"),
        (agent.value, "val_model", "final"),
    ):
        for i, name in enumerate(("affine_layers.0", "affine_layers.1", last)):
            np.testing.assert_array_equal(mine[f"layer_{i}"]["kernel"], parts[theirs][f"{name}.weight"].T)
            np.testing.assert_array_equal(mine[f"layer_{i}"]["bias"], parts[theirs][f"{name}.bias"])
    np.testing.assert_array_equal(agent.log_std, -100)
    observation = jnp.array([1.0, 2.0, 3.0, 400.0])
    expected = np.clip((observation - MEAN) / (STD + 1e-8), -10, 10)
    np.testing.assert_allclose(agent.normalise(observation), expected, rtol=1e-5)


def test_npz(tmp_path):
    path = npz(tmp_path / "agent.whatever.npz", sa_ppo())
    check_sa_ppo(read_agent(path))
    np.testing.assert_array_equal(read_adversary(path)["layer_2"]["kernel"], draw(OBS, 8).T)


@pytest.mark.parametrize("write", [torch_zip, torch_legacy])
def test_published_model(tmp_path, write):
    path = tmp_path / "agent"
    path.write_bytes(write(published()))
    agent = read_agent(path)
    check_sa_ppo(agent)
    assert agent.normalizer.count == 101
    np.testing.assert_array_equal(read_adversary(path)["layer_2"]["bias"], draw(OBS))


def test_published_model_without_filter(tmp_path):
    saved = published()
    saved["envs"][0].attributes["state_filter"] = Object(FILTERS, "Identity")
    (tmp_path / "agent").write_bytes(torch_zip(saved))
    np.testing.assert_array_equal(read_agent(tmp_path / "agent").normalizer.mean, 0)


def stable_baselines(path, *, discrete=False, settings=None, **changes):
    arrays = {
        "mlp_extractor.policy_net.0.weight": draw(8, OBS),
        "mlp_extractor.policy_net.0.bias": draw(8),
        "mlp_extractor.policy_net.2.weight": draw(8, 8),
        "mlp_extractor.policy_net.2.bias": draw(8),
        "mlp_extractor.value_net.0.weight": draw(8, OBS),
        "mlp_extractor.value_net.0.bias": draw(8),
        "action_net.weight": draw(ACT, 8),
        "action_net.bias": draw(ACT),
        "value_net.weight": draw(1, 8),
        "value_net.bias": draw(1),
    } | changes
    arrays |= {} if discrete else {"log_std": draw(ACT)}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", json.dumps(settings or {"policy_kwargs": {}}))
        archive.writestr("policy.pth", torch_zip(OrderedDict((n, Tensor(a)) for n, a in arrays.items())))
        archive.writestr("policy.optimizer.pth", b"not read")
    return path


@pytest.mark.parametrize("discrete", [False, True])
def test_stable_baselines(tmp_path, discrete):
    agent = read_agent(stable_baselines(tmp_path / "agent.npz", discrete=discrete))
    assert agent.activation == "tanh"
    assert (agent.log_std is None) is discrete
    assert (len(agent.policy), len(agent.value)) == (3, 2)
    x = jnp.array([0.1, -0.2, 0.3, -0.4])
    hidden = np.tanh(np.tanh(draw(8, OBS) @ x + draw(8)) @ draw(8, 8).T + draw(8))
    np.testing.assert_allclose(agent.output(agent.normalise(x)), draw(ACT, 8) @ hidden + draw(ACT), rtol=1e-4)


def test_stable_baselines_activation(tmp_path):
    settings = {
        "policy_kwargs": {":serialized:": "", "activation_fn": "<class 'torch.nn.modules.activation.ReLU'>"}
    }
    assert read_agent(stable_baselines(tmp_path / "a", settings=settings)).activation == "relu"
    settings = {"policy_kwargs": {"activation_fn": "<class 'torch.nn.modules.activation.GELU'>"}}
    with pytest.raises(SpecError, match="activation 'GELU'"):
        read_agent(stable_baselines(tmp_path / "b", settings=settings))


# --- What is refused -------------------------------------------------------------------------------------


def linear(*names):
    return [f"{name}.{part}" for name in names for part in ("weight", "bias")]


def mlp(name):
    return linear(f"{name}.0", f"{name}.2", f"{name}.4")


LSTM = [
    f"{name}.{part}_{side}_l0"
    for name in ("lstm_actor", "lstm_critic")
    for part in ("weight", "bias")
    for side in ("ih", "hh")
]
ACTOR_CRITIC = linear("mlp_extractor.policy_net.0", "mlp_extractor.value_net.0", "action_net", "value_net")

# the names under which Stable-Baselines3 (and its contrib package) saves the layers of each kind
OTHERS = {
    "DQN": mlp("q_net.q_net") + mlp("q_net_target.q_net"),
    "QR-DQN": mlp("quantile_net.quantile_net") + mlp("quantile_net_target.quantile_net"),
    "recurrent": ACTOR_CRITIC + LSTM,
    "images": linear("features_extractor.cnn.0", "features_extractor.cnn.2", "features_extractor.linear.0")
    + ACTOR_CRITIC,
}


def saved_as(path, names):
    tensors = OrderedDict(
        (name, Tensor(draw(2, 2) if name.endswith("weight") else draw(2))) for name in names
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", json.dumps({"policy_kwargs": {"activation_fn": "torch.nn.GELU"}}))
        archive.writestr("policy.pth", torch_zip(tensors))
    return path


@pytest.mark.parametrize("kind", OTHERS)
def test_an_agent_of_another_kind_is_named_and_so_is_what_can_be_read(tmp_path, kind):
    with pytest.raises(SpecError) as refused:
        read_agent(saved_as(tmp_path / "agent.zip", OTHERS[kind]))
    what = {"recurrent": "a recurrent agent", "images": "an agent that sees images"}
    message = str(refused.value)
    assert f": {what.get(kind, f'a Stable-Baselines3 {kind} agent')}; what can be read: " in message
    assert message.endswith(readable())
    assert not any(name in message for name in OTHERS[kind])


def test_of_unknown_layers_three_are_named(tmp_path):
    names = ACTOR_CRITIC + linear(*(f"gate.{i}" for i in range(10)))
    with pytest.raises(
        SpecError, match=r"unknown layers: gate.0.bias, gate.0.weight, gate.1.bias and 17 more;"
    ):
        read_agent(saved_as(tmp_path / "agent.zip", names))


def test_wrong_sizes_are_both_named(tmp_path):
    agent = read_agent(npz(tmp_path / "a.npz", sa_ppo()))
    with pytest.raises(SpecError, match=r"4 features to 2 actions.*11 features and 3 actions"):
        check_sizes(agent, 11, 3)


@pytest.mark.parametrize("write", [torch_zip, torch_legacy])
@pytest.mark.parametrize(("module", "name"), [("posix", "system"), ("builtins", "eval"), ("torch", "load")])
def test_code_is_refused_and_not_run(tmp_path, monkeypatch, write, module, name):
    trace = tmp_path / "trace"
    monkeypatch.setattr(os, "system", lambda _: trace.touch())
    hostile = Call(Global(module, name), f"open({str(trace)!r}, 'w')")
    (tmp_path / "agent").write_bytes(write({"policy_model": hostile}))
    with pytest.raises(SpecError, match=rf"asks for {module}.{name}"):
        read_agent(tmp_path / "agent")
    assert not trace.exists()


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04broken", pickle.dumps([1, 2], protocol=2)])
def test_a_file_that_is_no_agent(tmp_path, content):
    (tmp_path / "agent").write_bytes(content)
    with pytest.raises(SpecError, match=r"^agent: .*agent: [^\n]+$"):
        read_agent(tmp_path / "agent")


def test_a_missing_file(tmp_path):
    with pytest.raises(SpecError, match="No such file"):
        read_agent(tmp_path / "nothing")


def test_objects_in_npz_are_refused(tmp_path):
    parts = sa_ppo()
    parts["policy_model"]["final_mean.bias"] = np.array([print, None])
    with pytest.raises(SpecError, match="allow_pickle=False"):
        read_agent(npz(tmp_path / "a.npz", parts))


def test_a_tensor_larger_than_its_storage_is_refused(tmp_path):
    marker = ("storage marker", "0", "FloatStorage", 1)
    tensor = Call(
        Global("torch._utils", "_rebuild_tensor_v2"), marker, 0, (10**6,), (1,), False, OrderedDict()
    )
    content = io.BytesIO(torch_zip({"policy_model": {"w": tensor}, "envs": []}))
    with zipfile.ZipFile(content, "a") as archive:
        archive.writestr("archive/data/0", b"\0" * 4)
    (tmp_path / "agent").write_bytes(content.getvalue())
    with pytest.raises(SpecError, match=r"size \(1000000,\) over 1 numbers"):
        read_agent(tmp_path / "agent")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite(tmp_path, bad):
    parts = sa_ppo()
    parts["val_model"]["final.bias"][0] = bad
    with pytest.raises(SpecError, match="final holds numbers that are not finite"):
        read_agent(npz(tmp_path / "a.npz", parts))


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        (
            "policy_model",
            {"lstm.weight_ih_l0": draw(3, 3)},
            "a recurrent agent; what can be read: ",
        ),
        ("policy_model", {"skip.weight": draw(3, 3)}, "unknown layers: skip.weight; what can be read"),
        ("policy_model", {"final_mean.weight": draw(ACT, 9)}, "fit no chain"),
        ("policy_model", {"log_stdev": draw(5)}, "log-std of shape"),
        ("val_model", {"affine_layers.0.weight": draw(8, 5)}, "value network does not map"),
    ],
)
def test_parts_that_do_not_fit(tmp_path, part, changes, message):
    parts = sa_ppo()
    parts[part] |= changes
    with pytest.raises(SpecError, match=message):
        read_agent(npz(tmp_path / "a.npz", parts))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"obs_clip": np.array(0.0)}, "clipped to ±0"),
        ({"obs_std": -STD}, "standard deviation below 0"),
        ({"obs_mean": np.zeros(3)}, "mean of shape"),
        ({"obs_mean": np.zeros(3), "obs_std": np.ones(3)}, "filter of shape"),
    ],
)
def test_filters_that_do_not_fit(tmp_path, changes, message):
    with pytest.raises(SpecError, match=message):
        read_agent(npz(tmp_path / "a.npz", sa_ppo(), **changes))


def test_an_agent_without_adversary(tmp_path):
    parts = sa_ppo()
    del parts["adversary_policy_model"]
    with pytest.raises(SpecError, match="no 'adversary_policy_model'"):
        read_adversary(npz(tmp_path / "a.npz", parts))


# --- The released agents ---------------------------------------------------------------------------------

needs_released = pytest.mark.skipif(not RELEASED.is_dir(), reason="../shared/released_agents is not here")


@needs_released
@pytest.mark.parametrize(("task", "sizes"), [("halfcheetah", (17, 6)), ("hopper", (11, 3))])
@pytest.mark.parametrize("arm", ["ppo", "sappo-convex", "atla-ppo"])
def test_released_agents(task, sizes, arm):
    for kind in ("model", "attack"):
        path = RELEASED / f"{kind}-{arm}-{task}.npz"
        agent = read_agent(path)
        widths = [agent.policy[f"layer_{i}"]["kernel"].shape for i in range(3)]
        assert widths == [(sizes[0], 64), (64, 64), (64, sizes[1])]
        check_sizes(agent, *sizes)
    assert read_adversary(path)["layer_2"]["bias"].shape == (sizes[0],)
