"""A checkpoint comes back bit for bit, and only whole ones are seen."""

import errno
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from jaxprune import SpecError, SweepSpec, checkpoint
from jaxprune.policy import agent as agents
from jaxprune.run_folder import RunFolder


def some_tree(seed=0):
    """What a run carries: an agent, keys, counters, an empty place, numbers that are easily lost."""
    return {
        "agents": jax.vmap(lambda key: agents.init(key, 2, 1, hidden=(3,)))(
            jax.random.split(jax.random.key(seed), 2)
        ),
        "keys": jax.random.split(jax.random.key(seed), 3),
        "iteration": jnp.int32(2**31 - 1),
        "alive": jnp.asarray([True, False]),
        "strange": jnp.asarray([-0.0, jnp.nan, jnp.inf, 1e-42, 1 / 3], jnp.float32),
        "nothing": None,
    }


@pytest.fixture(name="tree", scope="module")
def _tree():
    return some_tree()


def bits(leaf):
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return leaf.dtype, leaf.shape, np.asarray(leaf).tobytes()


def assert_same_bits(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    assert [bits(leaf) for leaf in jax.tree.leaves(one)] == [bits(leaf) for leaf in jax.tree.leaves(other)]


def counter(value):
    return {"value": jnp.int32(value)}


def test_a_tree_comes_back_bit_for_bit(tmp_path, tree):
    checkpoint.save(tmp_path, 1, tree)
    assert_same_bits(checkpoint.load(tmp_path, tree), tree)


def test_loaded_keys_go_on_with_the_same_random_stream(tmp_path, tree):
    checkpoint.save(tmp_path, 1, tree)
    found = checkpoint.load(tmp_path, tree)["keys"][2]
    np.testing.assert_array_equal(jax.random.normal(found, (4,)), jax.random.normal(tree["keys"][2], (4,)))


def test_what_is_loaded_goes_into_the_programs_of_what_was_saved(tmp_path, tree):
    checkpoint.save(tmp_path, 1, tree)
    program = jax.jit(lambda tree: tree["agents"].policy)
    once = program.lower(tree).as_text()
    assert program.lower(checkpoint.load(tmp_path, tree)).as_text() == once
    assert program.lower(jax.device_put(tree, jax.devices()[0])).as_text() != once


def test_shapes_are_enough_to_load(tmp_path, tree):
    checkpoint.save(tmp_path, 1, tree)
    assert_same_bits(checkpoint.load(tmp_path, jax.eval_shape(lambda: tree)), tree)


ELSEWHERE = """
import sys
from pathlib import Path
import jax
jax.config.update("jax_num_cpu_devices", 8)
from jaxprune import checkpoint
from tests.test_checkpoint import some_tree
checkpoint.save(Path(sys.argv[1]), 1, jax.device_put(some_tree(), jax.devices()[7]))
"""


def test_what_a_device_wrote_that_is_not_here_is_loaded(tmp_path, tree):
    assert jax.device_count() < 8
    subprocess.run([sys.executable, "-c", ELSEWHERE, str(tmp_path)], check=True)
    assert_same_bits(checkpoint.load(tmp_path, jax.eval_shape(lambda: tree)), tree)


def test_the_newest_step_is_loaded(tmp_path):
    for step in (1, 2, 10):
        checkpoint.save(tmp_path, step, counter(step))
    assert checkpoint.latest(tmp_path) == 10
    assert checkpoint.load(tmp_path, counter(0))["value"] == 10


def test_two_steps_are_kept(tmp_path):
    for step in (1, 2, 10):
        checkpoint.save(tmp_path, step, counter(step))
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == [2, 10]


def test_a_step_that_exists_is_left_alone(tmp_path):
    checkpoint.save(tmp_path, 1, counter(1))
    checkpoint.save(tmp_path, 1, counter(99))
    assert checkpoint.load(tmp_path, counter(0))["value"] == 1


def test_an_empty_or_missing_folder_has_no_step(tmp_path):
    assert checkpoint.latest(tmp_path) is None
    assert checkpoint.latest(tmp_path / "missing") is None
    assert not (tmp_path / "missing").exists()


def test_loading_nothing_is_refused_with_the_folders_name(tmp_path):
    with pytest.raises(SpecError, match=tmp_path.name):
        checkpoint.load(tmp_path, counter(0))


@pytest.fixture(name="half_written")
def _half_written(tmp_path, monkeypatch):
    """A folder with a finished step 1 and a step 2 whose writer died before it was done."""
    checkpoint.save(tmp_path, 1, counter(1))

    def die(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        for name in ("rename", "replace"):
            patch.setattr(os, name, die)
        checkpoint.save(tmp_path, 2, counter(2))
    assert any(path.name.startswith("2") for path in tmp_path.iterdir()), "nothing was left half-written"
    return tmp_path


def test_a_half_written_step_is_not_seen(half_written):
    assert checkpoint.latest(half_written) == 1
    assert checkpoint.load(half_written, counter(0))["value"] == 1


def test_a_half_written_step_can_be_written_again(half_written):
    checkpoint.save(half_written, 2, counter(22))
    assert checkpoint.latest(half_written) == 2
    assert checkpoint.load(half_written, counter(0))["value"] == 22


def files_of(step):
    return sorted(path for path in step.rglob("*") if path.is_file() and path.name != checkpoint.DIGESTS)


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncated, flipped, os.remove])
def test_a_damaged_step_is_not_used_whichever_of_its_files_it_is(tmp_path, damage):
    checkpoint.save(tmp_path / "run", 1, counter(1))
    checkpoint.save(tmp_path / "run", 2, counter(2))
    names = [
        path.relative_to(tmp_path / "run") for path in files_of(tmp_path / "run/2") if path.stat().st_size
    ]
    assert len(names) >= 3
    for number, name in enumerate(names):
        copy = tmp_path / f"copy{number}"
        shutil.copytree(tmp_path / "run", copy)
        damage(copy / name)
        with pytest.warns(UserWarning, match="copy.*2 is damaged and not used"):
            assert checkpoint.load(copy, counter(0))["value"] == 1


def test_a_damaged_step_is_written_anew(tmp_path):
    checkpoint.save(tmp_path, 1, counter(1))
    truncated(files_of(tmp_path / "1")[0])
    checkpoint.save(tmp_path, 1, counter(11))
    assert checkpoint.load(tmp_path, counter(0))["value"] == 11


def test_where_no_step_is_whole_nothing_is_loaded(tmp_path):
    checkpoint.save(tmp_path, 1, counter(1))
    truncated(files_of(tmp_path / "1")[0])
    with pytest.warns(UserWarning, match="damaged"):
        assert checkpoint.latest(tmp_path) is None
    with pytest.warns(UserWarning, match="damaged"), pytest.raises(SpecError, match="no whole checkpoint"):
        checkpoint.load(tmp_path, counter(0))


def unsigned(step):
    """A step as it is if its writer dies after orbax has published it."""
    (step / checkpoint.DIGESTS).unlink()
    return step


def test_a_step_that_was_not_signed_is_not_used_and_written_anew(tmp_path):
    for step in (1, 2):
        checkpoint.save(tmp_path, step, counter(step))
    for path in files_of(unsigned(tmp_path / "2") / "default" / "d"):
        truncated(path)
    with pytest.warns(UserWarning, match="2 is damaged and not used"):
        assert checkpoint.load(tmp_path, counter(0))["value"] == 1
    checkpoint.save(tmp_path, 2, counter(22))
    assert checkpoint.load(tmp_path, counter(0))["value"] == 22


def test_after_a_damaged_step_an_earlier_one_can_be_written(tmp_path):
    for step in (1, 10):
        checkpoint.save(tmp_path, step, counter(step))
    unsigned(tmp_path / "10")
    checkpoint.save(tmp_path, 4, counter(4))
    assert checkpoint.load(tmp_path, counter(0))["value"] == 4


def test_what_is_kept_without_a_signature_is_made_anew(tmp_path):
    checkpoint.load_or_make(tmp_path, like=lambda: counter(0), make=lambda: counter(1))
    unsigned(tmp_path / "0")
    with pytest.warns(UserWarning, match="0 is damaged and not used"):
        made = checkpoint.load_or_make(tmp_path, like=lambda: counter(0), make=lambda: counter(2))
    assert made["value"] == checkpoint.load(tmp_path, counter(0))["value"] == 2


def test_a_step_of_before_digests_were_kept_is_used_where_that_is_asked_for(tmp_path):
    checkpoint.save(tmp_path, 1, counter(1))
    unsigned(tmp_path / "1")
    assert checkpoint.load(tmp_path, counter(0), of={"steps": 1}, unsigned=True)["value"] == 1


def test_the_steps_of_something_else_are_refused_with_the_first_field_that_differs(tmp_path):
    of = {"env": "hopper", "eps": (0.1,), "steps": 8}
    checkpoint.save(tmp_path, 1, counter(1), of)
    for same in (of, None, {**of, "known_since": 1}):
        assert checkpoint.load(tmp_path, counter(0), same)["value"] == 1
    said = rf"^resume: eps is \[0.2\], but the checkpoints in {tmp_path} are of a run with \[0.1\]; remove"
    with pytest.raises(SpecError, match=said):
        checkpoint.load(tmp_path, counter(0), of | {"eps": (0.2,), "steps": 9})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"alive": jnp.zeros(3, bool)}, r"alive is of shape \(2,\) in .*1, of shape \(3,\) was expected"),
        ({"keys": jax.random.split(jax.random.key(0), 4)}, r"keys is of shape \(3, 2\) in .* \(4, 2\) was"),
        ({"alive": None}, r"alive is of shape \(2,\) in .*1, missing was expected"),
        ({"nothing": jnp.zeros(3)}, r"nothing is missing in .*1, of shape \(3,\) was expected"),
        ({"agents": {"w": jnp.zeros(())}}, r"agents.w is missing in .*1, of shape \(\) was expected"),
    ],
    ids=lambda change: str(*change) if isinstance(change, dict) else "",
)
def test_another_structure_or_shape_is_refused_with_the_leaf(tmp_path, tree, change, said):
    checkpoint.save(tmp_path, 1, tree)
    with pytest.raises(SpecError, match=f"^checkpoint: {said}"):
        checkpoint.load(tmp_path, jax.eval_shape(lambda: {**tree, **change}))


def test_a_full_disk_is_named_and_the_step_before_stays(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 1, counter(1))
    full = shutil.disk_usage(tmp_path)._replace(free=3 * 2**19)
    big = {"value": jnp.zeros(2**18, jnp.float32)}
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(SpecError, match="2 MiB are needed, 2 are free; make room and go on with --resume"):
        checkpoint.save(tmp_path, 2, big)
    checkpoint.save(tmp_path, 3, counter(3))  # which is small enough
    assert checkpoint.load(tmp_path, counter(0))["value"] == 3


NO_SPACE, NO_QUOTA = map(os.strerror, (errno.ENOSPC, errno.EDQUOT))


def filling(*_, **__):
    """What Python raises where a disk fills."""
    raise OSError(errno.ENOSPC, NO_SPACE)


def tensorstore(why):
    return ValueError(f"RESOURCE_EXHAUSTED: Failed to write 83 bytes to file 11: {why} [os_error_code='1']")


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (tensorstore(NO_SPACE), NO_SPACE),
        (tensorstore(NO_QUOTA), NO_QUOTA),
        (OSError(errno.ENOSPC, NO_SPACE), NO_SPACE),
        (OSError(errno.EDQUOT, NO_QUOTA), NO_QUOTA),
    ],
    ids=repr,
)
def test_a_disk_that_fills_while_it_is_written_is_named_and_the_step_before_stays(
    tmp_path, monkeypatch, error, why
):
    def half(self, step, **_):
        (tmp_path / f"{step}.orbax-checkpoint-tmp").mkdir()
        logging.getLogger("absl").error("what is raised, with its traceback")
        raise error

    for step in (1, 10):
        checkpoint.save(tmp_path, step, counter(step))
    said = []
    log = logging.getLogger("absl")
    monkeypatch.setattr(log, "handle", said.append)
    with monkeypatch.context() as patch:
        patch.setattr(ocp.CheckpointManager, "save", half)
        with pytest.raises(SpecError, match=f"^out: no room .*: {why}; make room and go on with --resume"):
            checkpoint.save(tmp_path, 11, counter(11))
    assert not said and not log.disabled
    assert {path.name for path in tmp_path.iterdir()} == {"1", "10"}
    assert checkpoint.load(tmp_path, counter(0))["value"] == 10
    checkpoint.save(tmp_path, 11, counter(11))
    assert checkpoint.load(tmp_path, counter(0))["value"] == 11


def test_a_disk_that_fills_as_a_step_is_signed_leaves_the_steps_before(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 1, counter(1))
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_sign", filling)
        with pytest.raises(SpecError, match=f"out: no room .*: {NO_SPACE}"):
            checkpoint.save(tmp_path, 2, counter(2))
    assert [path.name for path in tmp_path.iterdir()] == ["1"]
    assert checkpoint.load(tmp_path, counter(0))["value"] == 1


def test_what_is_wrong_otherwise_is_not_called_a_full_disk(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise ValueError("no such type")

    monkeypatch.setattr(ocp.CheckpointManager, "save", broken)
    with pytest.raises(ValueError, match="no such type"):
        checkpoint.save(tmp_path, 1, counter(1))


def test_what_is_kept_is_made_once_and_then_read(tmp_path, tree):
    def never():
        raise AssertionError

    made = checkpoint.load_or_make(tmp_path / "kept", like=never, make=lambda: tree)
    read = checkpoint.load_or_make(tmp_path / "kept", like=lambda: jax.eval_shape(lambda: tree), make=never)
    assert_same_bits(made, tree)
    assert_same_bits(read, tree)


def test_without_a_folder_nothing_is_kept():
    made = [
        checkpoint.load_or_make(None, like=lambda: counter(0), make=lambda n=n: counter(n)) for n in (1, 2)
    ]
    assert [tree["value"] for tree in made] == [1, 2]


@pytest.mark.parametrize("name", ["a[b]", "a\\b"])
def test_where_no_checkpoint_could_be_read_again_none_is_written(name: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"out: .* holds .*, and Orbax reads no checkpoint from there"):
        checkpoint.save(tmp_path / name, 0, {"x": jnp.ones(3)})
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SpecError, match="Orbax reads no checkpoint from there"):
        RunFolder.create(tmp_path / name / "run", SweepSpec(), "native")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a b", "a*b", "a?b", "a{b}", "ü", "a%20b", "a#b", "a'b"])
def test_from_any_other_folder_it_can_be_read_again(name: str, tmp_path: Path) -> None:
    checkpoint.save(tmp_path / name, 0, {"x": jnp.ones(3)})
    np.testing.assert_array_equal(checkpoint.load(tmp_path / name, {"x": jnp.zeros(3)})["x"], 1.0)
