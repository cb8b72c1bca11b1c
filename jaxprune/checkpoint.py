"""Pytrees of a sweep to and from disk, through orbax: whole steps only, so a crash loses no finished one.

Every step holds the digests of its files, so that one that was damaged later is told from a whole one.
"""

import hashlib
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding
from jaxtyping import Array

from jaxprune.errors import SpecError

Tree = TypeVar("Tree")

Leaf = Array | np.ndarray | jax.ShapeDtypeStruct

DIGESTS = "sha256.json"
"""The file in the folder of a step that says what is in the others."""

SPARE_BYTES = 2**20
"""What the file system needs beside the arrays, at most."""


def save(folder: Path, step: int, tree: object) -> None:
    """Write `tree` as step `step`; only the newest two steps are kept. A whole one that exists is left alone.

    Raises SpecError, and leaves the steps before as they are, where the disk has no room for it.
    """
    import orbax.checkpoint as ocp  # here, because it takes as long as a third of the library

    with _manager(folder) as manager:
        if step in manager.all_steps():
            if _whole(folder / str(step)):
                return
            manager.delete(step)
        _check_room(folder, tree)
        manager.save(step, args=ocp.args.StandardSave(tree))
    _sign(folder / str(step))


def latest(folder: Path) -> int | None:
    """The newest step whose files are all as they were written, if there is one. Warns of newer ones."""
    if not folder.is_dir():
        return None
    with _manager(folder) as manager:
        steps = sorted(manager.all_steps(), reverse=True)
    for step in steps:
        if _whole(folder / str(step)):
            return step
        warnings.warn(f"checkpoint: {folder / str(step)} is damaged and not used", stacklevel=2)
    return None


def load(folder: Path, like: Tree) -> Tree:
    """The newest whole step, in the structure, shapes and types of `like`.

    Raises SpecError where the folder holds none.
    """
    import orbax.checkpoint as ocp

    step = latest(folder)
    if step is None:
        raise SpecError(f"checkpoint: {folder} holds no whole checkpoint")
    with _manager(folder) as manager:
        restored = manager.restore(step, args=ocp.args.StandardRestore(jax.tree.map(_placed_here, like)))
    return jax.tree.map(_as_if_made_here, restored)


def _placed_here(leaf: Leaf) -> Leaf:
    """To be read onto a device of this machine: the one it was written from need not be there."""
    if not isinstance(leaf, jax.ShapeDtypeStruct):
        return leaf
    here = SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here)


def _as_if_made_here(leaf: Array | np.ndarray) -> Array | np.ndarray:
    """Bound to no device, or every program that it goes into would be compiled once more."""
    if isinstance(leaf, np.ndarray):
        return leaf
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        words = jnp.array(np.asarray(jax.random.key_data(leaf)))
        return jax.random.wrap_key_data(words, impl=jax.random.key_impl(leaf))
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


def _manager(folder: Path) -> Any:
    """Orbax's manager of the steps in a folder."""
    import orbax.checkpoint as ocp

    options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False, create=True)
    return ocp.CheckpointManager(folder.resolve(), options=options)


def _check_room(folder: Path, tree: object) -> None:
    """Raise SpecError where the disk cannot hold the tree as well."""
    needed = SPARE_BYTES + sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise SpecError(
            f"out: no room for a checkpoint in {folder}: {needed / 2**20:,.0f} MiB are needed, "
            f"{free / 2**20:,.0f} are free; make room and go on with --resume, what is there is whole"
        )


def _sign(step: Path) -> None:
    """Write down what is in the files of a step. In one piece, for it may be stopped here as well."""
    part = step / f"{DIGESTS}.part"
    part.write_text(json.dumps(_digests(step)))
    part.replace(step / DIGESTS)


def _whole(step: Path) -> bool:
    """Whether the files are what they were. Of a step that was not signed, only that it was finished."""
    signed = step / DIGESTS
    if not signed.is_file():
        return True
    try:
        return json.loads(signed.read_text()) == _digests(step)
    except (OSError, ValueError):
        return False


def _digests(step: Path) -> dict[str, str]:
    """The SHA-256 of every file, by its place in the folder."""
    found = {}
    for path in sorted(step.rglob("*")):
        if path.is_file() and not path.name.startswith(DIGESTS):
            with path.open("rb") as file:
                found[path.relative_to(step).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return found
