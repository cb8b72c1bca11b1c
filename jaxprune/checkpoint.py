"""Pytrees of a sweep to and from disk, through orbax: whole steps only, so a crash loses no finished one.

Every step holds the digests of its files, so that one that was damaged later, or was stopped before they were
written, is told from a whole one; those of a training say what they are of.
"""

import hashlib
import json
import logging
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding
from jaxtyping import Array

from jaxprune.errors import SpecError
from jaxprune.files import FULL, check_keeps_checkpoints

Tree = TypeVar("Tree")

Leaf = Array | np.ndarray | jax.ShapeDtypeStruct

DIGESTS = "sha256.json"
"""The file in the folder of a step that says what is in the others."""

OF = "of.json"
"""The file in that folder that says what the step is of, if that was said."""

SPARE_BYTES = 2**20
"""What the file system needs beside the arrays, at most."""


def save(folder: Path, step: int, tree: object, of: dict[str, Any] | None = None) -> None:
    """Write `tree` as step `step`; only the newest two steps are kept. A whole one that exists is left alone.

    of: what it is of, as plain JSON values.

    Raises SpecError, and leaves the steps before as they are, where the disk has no room for it; and where it
    could not be read again.
    """
    import orbax.checkpoint as ocp  # here, because it takes as long as a third of the library

    check_keeps_checkpoints(folder)
    with _manager(folder) as manager:
        for there in [other for other in manager.all_steps() if other >= step]:
            if not _whole(folder / str(there)):
                manager.delete(there)  # beside a later one, however damaged, orbax would write none
        if step in manager.all_steps():
            return
        _check_room(folder, tree)
        with _all_or_nothing(folder, step):
            manager.save(step, args=ocp.args.StandardSave(tree))
            _sign(folder / str(step), of)


def latest(folder: Path, *, unsigned: bool = False) -> int | None:
    """The newest step whose files are all as they were written, if there is one. Warns of newer ones.

    unsigned: whether one without digests counts, as there were before these were kept.
    """
    if not folder.is_dir():
        return None
    with _manager(folder) as manager:
        steps = sorted(manager.all_steps(), reverse=True)
    for step in steps:
        if _whole(folder / str(step), unsigned=unsigned):
            return step
        warnings.warn(f"checkpoint: {folder / str(step)} is damaged and not used", stacklevel=2)
    return None


def load(folder: Path, like: Tree, of: dict[str, Any] | None = None, *, unsigned: bool = False) -> Tree:
    """The newest whole step (see `latest`), in the structure, shapes and types of `like`.

    Raises SpecError where the folder holds none, where it is of something else than `of`, with the name of
    the field, or where a leaf is missing or of another shape. A field that it does not have is not compared.
    """
    import orbax.checkpoint as ocp

    step = latest(folder, unsigned=unsigned)
    if step is None:
        raise SpecError(f"checkpoint: {folder} holds no whole checkpoint")
    _check_same(folder, _of(folder / str(step)), of)
    with _manager(folder) as manager:
        _check_shapes(folder / str(step), manager.item_metadata(step).tree, like)
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
    return ocp.CheckpointManager(
        folder.resolve(), options=options, item_handlers=ocp.StandardCheckpointHandler()
    )


def _check_room(folder: Path, tree: object) -> None:
    """Raise SpecError where the disk cannot hold the tree as well."""
    needed = SPARE_BYTES + sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise _no_room(folder, f"{needed / 2**20:,.0f} MiB are needed, {free / 2**20:,.0f} are free")


def _no_room(folder: Path, why: str) -> SpecError:
    return SpecError(
        f"out: no room for a checkpoint in {folder}: {why}; make room and go on with --resume, what is there "
        "is whole"
    )


@contextmanager
def _all_or_nothing(folder: Path, step: int) -> Iterator[None]:
    """Raise SpecError, and leave nothing of the step, where the disk is full before all of it is written.

    There was room, but others write to the disk as well, and a quota was not looked at.
    """
    log = logging.getLogger("absl")  # where orbax's threads say at length what is raised here too
    before, log.disabled = log.disabled, True
    try:
        yield
    except (OSError, ValueError) as error:
        # Tensorstore raises what the system says as a ValueError.
        for why in map(os.strerror, FULL):
            if why in str(error):
                for left in (folder / str(step), *folder.glob(f"{step}.*")):
                    shutil.rmtree(left, ignore_errors=True)
                raise _no_room(folder, why) from None
        raise
    finally:
        log.disabled = before


def _check_same(folder: Path, before: dict[str, Any] | None, now: dict[str, Any] | None) -> None:
    """Raise SpecError, with the name of the first field that differs, for steps of something else."""
    if before is None or now is None:
        return
    for name, asked in json.loads(json.dumps(now)).items():
        if name in before and before[name] != asked:
            raise SpecError(
                f"resume: {name} is {asked}, but the checkpoints in {folder} are of a run with "
                f"{before[name]}; remove them, or begin in a new folder"
            )


def _check_shapes(step: Path, held: object, like: object) -> None:
    """Raise SpecError, with the place of the first leaf that is not in both or has another shape there."""
    found, wanted = _shapes(held), _shapes(like)
    for place in (*wanted, *found):
        if found.get(place) != wanted.get(place):
            raise SpecError(
                f"checkpoint: {place} is {_of_shape(found.get(place))} in {step}, "
                f"{_of_shape(wanted.get(place))} was expected: it is of something else"
            )


def _shapes(tree: object) -> dict[str, tuple[int, ...]]:
    """Those of all leaves, by their place; of a random key, that of the words it is kept as."""

    def words(leaf: Any) -> Any:
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return jax.eval_shape(jax.random.key_data, leaf) if is_key else leaf

    return {
        jax.tree_util.keystr(place, simple=True, separator="."): tuple(words(leaf).shape)
        for place, leaf in jax.tree.leaves_with_path(tree)
    }


def _of_shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else f"of shape {shape}"


def _sign(step: Path, of: dict[str, Any] | None) -> None:
    """Write down what a step is of, and in one piece what is in its files: it may be stopped here as well."""
    if of is not None:
        (step / OF).write_text(json.dumps(of))
    part = step / f"{DIGESTS}.part"
    part.write_text(json.dumps(_digests(step)))
    part.replace(step / DIGESTS)


def _of(step: Path) -> dict[str, Any] | None:
    """What a step is of, if it says so."""
    written = step / OF
    return json.loads(written.read_text()) if written.is_file() else None


def _whole(step: Path, *, unsigned: bool = False) -> bool:
    """Whether the files are what they were. Of a step that was not signed that is not known."""
    signed = step / DIGESTS
    if not signed.is_file():
        return unsigned
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
