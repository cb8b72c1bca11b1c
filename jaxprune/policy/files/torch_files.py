"""PyTorch files without PyTorch, and without running what they name: see `pickles`."""

import io
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxprune.errors import SpecError
from jaxprune.policy.files import pickles

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
"""The first thing pickled in a legacy file; then the format's number, the machine, the object, the keys."""

LEGACY_START = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"
"""A legacy file begins with that number, pickled."""

HUSKS = ("policy_gradients.", "gym.", "numpy.random.")
"""Modules whose objects the published files carry along: read as husks, the modules never imported."""

STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


class Storage:
    """The numbers behind one or more tensors, filled in once the file has been read to its end."""

    def __init__(self, kind: str) -> None:
        self.kind = np.dtype(kind)
        self.numbers = np.empty(0, self.kind)

    def fill(self, data: bytes) -> None:
        """Set the numbers."""
        self.numbers = np.frombuffer(data, self.kind)


class StoredTensor:
    """A strided view of a storage: entry `(i, j)` is number `offset + i stride[0] + j stride[1]`."""

    def __init__(self, storage: Storage, offset: int, size: tuple, stride: tuple, *_: Any) -> None:
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride

    def read(self) -> np.ndarray:
        """The tensor as an array; SpecError if its storage cannot hold it."""
        if int(np.prod(self.size)) > self.storage.numbers.size:
            raise SpecError(f"a tensor of size {tuple(self.size)} over {self.storage.numbers.size} numbers")
        place = np.array(self.offset)
        for length, step in zip(self.size, self.stride, strict=True):
            place = place[..., None] + step * np.arange(length)
        return self.storage.numbers[place]


ALLOWED: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor_v2": StoredTensor,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    "torch.Size": tuple,
}


class Reader(pickles.Reader):
    """The reader of pickles, with storages and tensors as well."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, HUSKS, ALLOWED)
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a name; SpecError if it has none."""
        if module in ("torch", "torch.cuda") and name in STORAGES:
            return STORAGES[name]
        return super().find_class(module, name)

    def persistent_load(self, identity: tuple) -> Storage:
        """A storage by its key, created when it is first mentioned."""
        _, kind, key, *_ = identity
        return self.storages.setdefault(key, Storage(kind))


def read_torch(content: bytes) -> Any:
    """The object of a `torch.save`, with a `StoredTensor` for every tensor."""
    if content.startswith(b"PK\x03\x04"):
        return _read_torch_zip(content)
    return _read_torch_legacy(content)


def _read_torch_zip(content: bytes) -> Any:
    """`root/data.pkl` names storages by keys; `root/data/key` holds their bytes."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise SpecError("a zip with neither the arrays nor the pickle of an agent")
        root = pickles[0].removesuffix("data.pkl")
        reader = Reader(io.BytesIO(archive.read(pickles[0])))
        saved = reader.load()
        for key, storage in reader.storages.items():
            storage.fill(archive.read(f"{root}data/{key}"))
    return saved


def _read_torch_legacy(content: bytes) -> Any:
    """Five pickles one after the other; then each storage in the order of the keys: its length, its bytes."""
    file = io.BytesIO(content)
    if Reader(file).load() != LEGACY_MAGIC:
        raise SpecError("a pickle, but not one that PyTorch wrote")
    _format, _machine = Reader(file).load(), Reader(file).load()
    reader = Reader(file)
    saved = reader.load()
    for key in Reader(file).load():
        storage = reader.storages[key]
        length = int.from_bytes(file.read(8), "little")
        storage.fill(file.read(length * storage.kind.itemsize))
    return saved


def members(content: bytes) -> frozenset[str]:
    """The names inside a zip; none if it is not one."""
    if not content.startswith(b"PK\x03\x04"):
        return frozenset()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return frozenset(archive.namelist())


def arrays_of(state: dict[str, StoredTensor]) -> dict[str, np.ndarray]:
    """A state dict of PyTorch as arrays."""
    return {name: tensor.read() for name, tensor in state.items()}
