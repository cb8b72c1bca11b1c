"""Pickles without running what they name.

A pickle may name anything in the world and call it. `Reader` never imports what a pickle names: it has
stand-ins for arrays and plain containers, a lifeless `Husk` for objects of the modules that a caller lists,
and an error for the rest.
"""

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from jaxprune.errors import SpecError


class Husk:
    """What is left of an object of a class we do not run: the name of the class, and the object's state."""

    kind = ""
    state: Any = MappingProxyType({})

    def __init__(self, *arguments: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state


class StoredKind:
    """A NumPy dtype as pickled: a code such as `f8` and a byte order."""

    def __init__(self, code: str, *_: Any) -> None:
        self.code, self.order = code, "|"

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1]

    def dtype(self) -> np.dtype:
        """The dtype."""
        return np.dtype(self.order + self.code)


class StoredArray:
    """A NumPy array as pickled: shape, kind, whether columns come first, bytes."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: tuple) -> None:
        _, self.shape, self.kind, self.columns_first, self.data = state

    def read(self) -> np.ndarray:
        """The array; NumPy refuses to make one of objects."""
        numbers = np.frombuffer(self.data, self.kind.dtype())
        return numbers.reshape(self.shape, order="F" if self.columns_first else "C")


def _from_buffer(data: bytes | bytearray, kind: StoredKind, shape: tuple, order: str) -> StoredArray:
    """A NumPy array as protocol 5 pickles it."""
    array = StoredArray()
    array.__setstate__((1, shape, kind, order == "F", data))
    return array


def _jax_array(reconstruct: Any, arguments: tuple, state: tuple, _: Any) -> StoredArray:
    """A JAX array as pickled: what a NumPy array is pickled as, and a remark."""
    array = StoredArray()
    array.__setstate__(state)
    return array


def _scalar(kind: StoredKind, data: bytes = b"") -> StoredArray:
    """A NumPy scalar as pickled: an array without axes."""
    return _from_buffer(data, kind, (), "C")


def _latin1(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes into an old pickle: as text to be encoded again."""
    if encoding != "latin1":
        raise SpecError(f"bytes written in {encoding!r}, not in latin1")
    return text.encode("latin1")


ARRAYS: Mapping[str, Callable[..., Any]] = {
    "collections.OrderedDict": OrderedDict,
    "builtins.set": set,
    "_codecs.encode": _latin1,
    "numpy.dtype": StoredKind,
    "numpy.ndarray": StoredArray,
    "jax._src.array._reconstruct_array": _jax_array,
    **{
        f"numpy.{core}.{name}": stand_in
        for core in ("core", "_core")
        for name, stand_in in {
            "multiarray._reconstruct": StoredArray,
            "multiarray.scalar": _scalar,
            "numeric._frombuffer": _from_buffer,
        }.items()
    },
}
"""The stand-ins for containers and arrays, of NumPy 1 and 2, by full name."""


class Reader(pickle.Unpickler):
    """An unpickler that hands out stand-ins and imports nothing.

    allowed: further stand-ins by full name. husks: beginnings of names whose objects become husks.
    """

    def __init__(
        self,
        file: io.BytesIO,
        husks: tuple[str, ...] = (),
        allowed: Mapping[str, Callable[..., Any]] = MappingProxyType({}),
    ) -> None:
        super().__init__(file)
        self.allowed, self.husks = {**ARRAYS, **allowed}, husks

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a name; SpecError if it has none."""
        full = f"{module}.{name}"
        if full.startswith(self.husks):
            return type("Husk", (Husk,), {"kind": full})
        if full not in self.allowed:
            raise SpecError(f"it asks for {full}, which is neither an array nor a container; refused")
        return self.allowed[full]


def number(stored: Any) -> float:
    """A number, however it was pickled. Raises TypeError or ValueError for anything else."""
    return float(stored.read() if isinstance(stored, StoredArray) else stored)
