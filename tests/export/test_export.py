"""What is exported computes what the agent computes: read back, as ONNX, as NumPy alone."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest

from jaxprune.envs import squash
from jaxprune.errors import SpecError
from jaxprune.export import NAMES, Known, export, numpy_policy, onnx_graph
from jaxprune.policy import ACTIVATIONS, Normalizer
from jaxprune.policy import agent as agents
from jaxprune.policy.files import PolicyFile, read_policy, to_bytes
from jaxprune.pruning import masks, scores

OBS, ACT = 4, 3


def shaken(leaf):
    """Biases that are not 0, and outputs that are not small."""
    return leaf + 0.3 * jnp.sin(jnp.arange(leaf.size, dtype=jnp.float32)).reshape(leaf.shape)


def policy(activation="tanh", *, discrete=False, squashed=None, clip=2.0, sparsity=0.5):
    """A pruned agent of a filter that clips some of `observations`."""
    agent = agents.init(jax.random.key(0), OBS, ACT, discrete=discrete, hidden=(6, 5), activation=activation)
    agent = agent.replace(
        policy=jax.tree.map(shaken, agent.policy),
        normalizer=Normalizer(jnp.arange(OBS) * 0.5, jnp.arange(OBS) * 0.1, jnp.float32(7), clip),
    )
    kernels = {name: layer["kernel"] for name, layer in agent.policy.items()}
    if sparsity:
        agent = agent.replace(mask=masks.lowest_removed(scores.magnitude(kernels), sparsity))
    return PolicyFile(agent, squash=squashed)


KINDS = {
    **{name: policy(name) for name in ACTIVATIONS},
    "unclipped": policy(clip=np.inf),
    "discrete": policy(discrete=True),
    "squashed": policy(squashed=(-0.5, 2.0)),
    "dense": policy(sparsity=0),
}


def observations():
    drawn = np.random.default_rng(0).normal(size=(16, OBS)) * 3
    return drawn.astype(np.float32)


def expected(policy):
    """Logits, or the deterministic action."""
    agent = policy.agent
    found = jax.vmap(lambda s: agent.output(agent.normalise(s)))(jnp.asarray(observations()))
    return np.asarray(found if policy.squash is None else squash(found, *policy.squash))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_back_is_the_same_bit_for_bit(kind, tmp_path):
    path = tmp_path / "policy.safetensors"
    path.write_bytes(to_bytes(KINDS[kind], {}))
    read = read_policy(path)
    written = KINDS[kind]
    jax.tree.map(np.testing.assert_array_equal, read.agent.pruned(), written.agent.pruned())
    jax.tree.map(np.testing.assert_array_equal, read.agent.mask, written.agent.mask)
    assert read.squash == written.squash
    np.testing.assert_array_equal(expected(read), expected(KINDS[kind]))


@pytest.mark.parametrize("kind", KINDS)
def test_onnx(kind):
    session = onnxruntime.InferenceSession(onnx_graph(KINDS[kind]), providers=["CPUExecutionProvider"])
    assert [end.name for end in session.get_inputs()] == ["observation"]
    name = "logits" if kind == "discrete" else "action"
    (found,) = session.run([name], {"observation": observations()})
    np.testing.assert_allclose(found, expected(KINDS[kind]), rtol=1e-5, atol=1e-6)


ALONE = """
import sys
import numpy as np
from policy import action, output
seen = np.load("seen.npy")
np.savez("found.npz", action=action(seen), output=output(seen), one=action(seen[0]))
foreign = {"jax", "jaxprune", "safetensors", "onnx", "torch"} & set(sys.modules)
assert not foreign, foreign
"""


@pytest.mark.parametrize("kind", ["swish", "discrete", "squashed"])
def test_numpy_alone(kind, tmp_path):
    """In a process of its own, in the folder, with numpy and nothing else."""
    out = tmp_path / "out"
    export(KINDS[kind], out, onnx=False)
    np.save(out / "seen.npy", observations())
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([sys.executable, "-W", "error", "-c", ALONE], cwd=out, env=environment, check=True)
    with np.load(out / "found.npz") as found:
        theirs = expected(KINDS[kind])
        if kind == "discrete":
            np.testing.assert_allclose(found["output"], theirs, rtol=1e-6, atol=1e-6)
            np.testing.assert_array_equal(found["action"], theirs.argmax(1))
        else:
            np.testing.assert_allclose(found["action"], theirs, rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(found["one"], theirs[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_in_numpy(activation, tmp_path):
    path = tmp_path / "policy.safetensors"
    path.write_bytes(to_bytes(KINDS[activation], {}))
    found = numpy_policy.action(observations(), path)
    np.testing.assert_allclose(found, expected(KINDS[activation]), rtol=1e-6, atol=1e-6)


def test_the_files_and_what_they_say(tmp_path):
    out = tmp_path / "new" / "out"
    export(KINDS["squashed"], out, Known({"task": "hopper"}))
    assert {path.name for path in out.iterdir()} == set(NAMES.values())
    about = json.loads((out / NAMES["json"]).read_text())
    assert (about["hidden"], about["squash"], about["clip"]) == ([6, 5], [-0.5, 2.0], 2.0)
    # 12 of 24, 15 of 30 and 8 of 15 weights (7.5 rounds to even) are gone.
    assert about["sparsity"] == pytest.approx(35 / 69)
    card = (out / NAMES["card"]).read_text()
    for fact in (
        "4 x 6 x 5 x 3, tanh",
        "[-0.5, 2]",
        "clipped to ±2",
        "50.7%",
        "task: hopper",
        "Not measured",
    ):
        assert fact in card


def test_a_folder_that_exists_is_left_alone(tmp_path):
    with pytest.raises(SpecError, match=r"out: .* exists; results are never overwritten"):
        export(KINDS["dense"], tmp_path, onnx=False)
    assert not list(tmp_path.iterdir())


def test_without_the_package_onnx_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(SpecError, match=r"onnx: .* not installed; pip install 'jaxprune\[export\]'"):
        export(KINDS["dense"], tmp_path / "out")
    assert not list(tmp_path.iterdir())


# --- Broken files ----------------------------------------------------------------------------------------


def test_a_newer_file_is_refused(tmp_path):
    path = tmp_path / "policy.safetensors"
    path.write_bytes(to_bytes(KINDS["dense"], {"format": 2}))
    with pytest.raises(SpecError, match=r"it is of format 2; this program reads format 1"):
        read_policy(path)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.3, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_off_is_refused_in_one_line(share, tmp_path):
    content = to_bytes(KINDS["dense"], {})
    path = tmp_path / "policy.safetensors"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(SpecError, match=r"^agent: .*policy.safetensors: [^\n]*$"):
        read_policy(path)


def test_a_mask_of_another_shape_is_refused(tmp_path):
    broken = KINDS["tanh"].agent
    broken = broken.pruned().replace(mask=broken.mask | {"layer_1": jnp.ones((2, 2))})
    path = tmp_path / "policy.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agents.Agent, "pruned", lambda self: self)
        path.write_bytes(to_bytes(PolicyFile(broken), {}))
    with pytest.raises(SpecError, match="its mask does not fit its weights"):
        read_policy(path)
