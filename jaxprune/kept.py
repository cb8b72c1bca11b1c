"""Arrays that took long to compute, kept in a file with its digest, to be taken from there after a stop.

Unlike a `checkpoint` it says by itself which arrays there are and of which shapes, for what is not known
before it is computed, such as how long episodes last; and it takes milliseconds.
"""

import hashlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxprune.files import in_one_piece

Arrays = dict[str, Any]
"""Arrays by name, or such dictionaries of them; none of these is empty."""


def load_or_make(path: Path, make: Callable[[], Arrays]) -> Arrays:
    """What `make` gives, written to `path`; read from there, bit for bit, if it has been made before.

    A file that is not as it was written is made anew, with a warning. Raises SpecError where the disk has no
    room for it.
    """
    if path.is_file():
        if _whole(path):
            return _read(path)
        warnings.warn(f"kept: {path} is damaged and made anew", stacklevel=2)
    arrays = make()
    _write(path, arrays)
    return arrays


def _write(path: Path, arrays: Arrays) -> None:
    named: Arrays = {json.dumps(place): np.asarray(leaf) for place, leaf in flatten_dict(arrays).items()}

    path.parent.mkdir(parents=True, exist_ok=True)

    def write(part: Path) -> None:
        with part.open("wb") as file:
            np.savez(file, **named)
        # Before the arrays take their name: who finds them finds what they must be.
        in_one_piece(_signature(path), lambda beside: beside.write_text(_digest(part)))

    in_one_piece(path, write)


def _read(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as file:
        return unflatten_dict({tuple(json.loads(name)): file[name] for name in file.files})


def _whole(path: Path) -> bool:
    signature = _signature(path)
    return signature.is_file() and signature.read_text() == _digest(path)


def _signature(path: Path) -> Path:
    """Where the digest of a file is written."""
    return path.with_name(path.name + ".sha256")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
