"""Checkpoints that are written while their maker goes on."""

from functools import partial
from threading import Event

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprune import SpecError, checkpoint
from jaxprune.saving import Saver

LIKE = {"numbers": jax.ShapeDtypeStruct((3,), jnp.float32), "key": jax.eval_shape(lambda: jax.random.key(0))}


def some_tree(number):
    return {"numbers": jnp.full(3, number), "key": jax.random.key(int(number))}


@partial(jax.jit, donate_argnums=0)
def grown(tree):
    return tree | {"numbers": tree["numbers"] + 1}


def test_what_is_saved_is_what_it_was_though_its_arrays_are_donated_at_once(tmp_path):
    tree = some_tree(5.0)
    with Saver(tmp_path, {"what": "a test"}) as saver:
        for step in range(4):
            saver.save(step, tree)
            tree = grown(tree)
    found = checkpoint.load(tmp_path, LIKE, {"what": "a test"})
    np.testing.assert_array_equal(found["numbers"], [8.0] * 3)
    np.testing.assert_array_equal(*map(jax.random.key_data, (found["key"], jax.random.key(5))))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3"]
    with pytest.raises(SpecError, match="what is another"):
        checkpoint.load(tmp_path, LIKE, {"what": "another"})


def test_its_maker_goes_on_while_it_is_written_and_the_next_waits(tmp_path, monkeypatch):
    gone_on, written = Event(), []

    def slow(folder, step, tree, of):
        assert gone_on.wait(60)
        written.append(step)

    monkeypatch.setattr(checkpoint, "save", slow)
    with Saver(tmp_path) as saver:
        saver.save(1, some_tree(1.0))
        assert written == []
        gone_on.set()
        saver.save(2, some_tree(2.0))
        assert written[0] == 1
    assert written == [1, 2]


def no_room(*_):
    raise SpecError("out: no room")


def test_what_went_wrong_is_raised_by_the_next_save_or_at_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "save", no_room)
    with pytest.raises(SpecError, match="no room"), Saver(tmp_path) as saver:
        saver.save(1, some_tree(1.0))
    with Saver(tmp_path) as saver:
        saver.save(1, some_tree(1.0))
        with pytest.raises(SpecError, match="no room"):
            saver.save(2, some_tree(2.0))


def test_one_that_is_stopped_has_saved_first(tmp_path):
    with pytest.raises(KeyboardInterrupt), Saver(tmp_path) as saver:
        saver.save(7, some_tree(7.0))
        raise KeyboardInterrupt
    assert checkpoint.latest(tmp_path) == 7


def test_without_a_folder_nothing_is_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "save", no_room)
    with Saver(None) as saver:
        saver.save(1, some_tree(1.0))
