"""Any network of dense layers that flax wrote: kernels and biases in msgpack or safetensors.

The layers are put in the order of their numbers (`Dense_0, Dense_1, ...`, `layer_0, ...`). A vector `log_std`
beside them is the spread of a Gaussian policy; without one the policy is deterministic, or its outputs are
logits where the task has discrete actions. A safetensors file may say its `activation` among its texts.
"""

import re
from collections.abc import Mapping

import numpy as np
from flax.serialization import msgpack_restore

from jaxprune.policy.files import tensors
from jaxprune.policy.files.record import (
    Arrays,
    OtherKindError,
    PolicyFile,
    Reader,
    Source,
    as_weights,
    assemble,
    deterministic,
    flattened,
    numbered_chain,
    settled,
    unfiltered,
    what_has,
)

MSGPACK_MAPS = (*range(0x81, 0x90), 0xDE, 0xDF)
"""First bytes of a map that is not empty."""

FIRST = re.compile(r"(.*_)\d+\.weight")
"""A numbered layer, and what stands before its number."""


def _recognises(source: Source) -> bool:
    if tensors.is_safetensors(source.content):
        return any(re.search(r"(^|[./])kernel$", name) for name in tensors.names(source.content))
    return source.content[:1] != b"" and source.content[0] in MSGPACK_MAPS


def _read(source: Source, activation: str | None) -> PolicyFile:
    said = None
    if tensors.is_safetensors(source.content):
        arrays, said = tensors.arrays(source.content), tensors.texts(source.content).get("activation")
    else:
        tree = msgpack_restore(source.content)
        if not isinstance(tree, Mapping):
            raise OtherKindError("a msgpack without a tree of arrays")
        arrays = flattened(tree)
    arrays = as_weights({name.replace("/", "."): array for name, array in arrays.items()})
    log_std = _log_std(arrays)
    policy = numbered_chain(arrays, _numbered(arrays))
    agent = assemble(
        policy,
        deterministic(policy) if log_std is None else log_std,
        None,
        unfiltered(policy),
        settled(said, activation),
    )
    return PolicyFile(agent, filter_elsewhere=True, head_unsaid=log_std is None)


def _log_std(arrays: Arrays) -> np.ndarray | None:
    """The vector `log_std`, taken out of the arrays; None where there is none."""
    found = [name for name in arrays if name.rsplit(".", 1)[-1] == "log_std"]
    return arrays.pop(found[0]).reshape(-1) if found else None


def _numbered(arrays: Arrays) -> str:
    """What stands before the numbers of the layers. Raises OtherKindError for more networks than one."""
    found = {match[1] for name in arrays if (match := FIRST.fullmatch(name))}
    if len(found) != 1:
        raise OtherKindError(
            what_has(arrays) if not found else f"several networks ({', '.join(sorted(found))})"
        )
    return found.pop()


READER = Reader("flax", "a network of dense layers of flax (.msgpack, .safetensors)", _recognises, _read)
