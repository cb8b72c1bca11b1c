"""Pytrees of a sweep to and from disk, through orbax: whole steps only, so a crash loses no finished one."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import Array

from jaxprune.errors import SpecError

Tree = TypeVar("Tree")


def save(folder: Path, step: int, tree: object) -> None:
    """Write `tree` as step `step`; only the newest two steps are kept. A step that exists is left alone."""
    with _manager(folder) as manager:
        if step not in manager.all_steps():
            manager.save(step, args=ocp.args.StandardSave(tree))


def latest(folder: Path) -> int | None:
    """The newest finished step in the folder, if there is one."""
    if not folder.is_dir():
        return None
    with _manager(folder) as manager:
        return manager.latest_step()


def load(folder: Path, like: Tree) -> Tree:
    """The newest finished step, in the structure, shapes and types of `like`.

    Raises SpecError where the folder holds none.
    """
    step = latest(folder)
    if step is None:
        raise SpecError(f"checkpoint: {folder} holds no finished checkpoint")
    with _manager(folder) as manager:
        restored = manager.restore(step, args=ocp.args.StandardRestore(like))
    return jax.tree.map(_as_if_made_here, restored)


def _as_if_made_here(leaf: Array | np.ndarray) -> Array | np.ndarray:
    """Bound to no device, or every program that it goes into would be compiled once more."""
    if isinstance(leaf, np.ndarray):
        return leaf
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        words = np.asarray(jax.random.key_data(leaf))
        return jax.random.wrap_key_data(jnp.array(words), impl=jax.random.key_impl(leaf))
    return jnp.array(np.asarray(leaf))


def load_or_make(folder: Path | None, like: Callable[[], Tree], make: Callable[[], Tree]) -> Tree:
    """What `make` gives, written to the folder; read from there, as `like()`, if it has been made before.

    Without a folder nothing is written or read.
    """
    if folder is None:
        return make()
    if latest(folder) is None:
        tree = make()
        save(folder, 0, tree)
        return tree
    return load(folder, like())


def _manager(folder: Path) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False, create=True)
    return ocp.CheckpointManager(folder.resolve(), options=options)
