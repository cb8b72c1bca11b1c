"""The files of one policy, all made before the first is written."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from jaxprune.errors import SpecError
from jaxprune.export import numpy_policy
from jaxprune.export.card import card
from jaxprune.export.onnx_graph import onnx_graph
from jaxprune.policy.files import PolicyFile, describe, to_bytes
from jaxprune.pruning import masks
from jaxprune.run_folder import provenance

NAMES = {
    "safetensors": "policy.safetensors",
    "json": "policy.json",
    "numpy": "policy.py",
    "onnx": "policy.onnx",
    "card": "CARD.md",
}
"""The files by what they are."""


@dataclass(frozen=True)
class Known:
    """What is known of a policy beside itself.

    facts: plain JSON values by name: task, physics, seed, arm, sparsity_asked, budgets, source.
    results, certificates, attacked_returns: the rows of a run's tables that are about it.
    """

    facts: Mapping[str, Any] = field(default_factory=dict)
    results: pl.DataFrame | None = None
    certificates: pl.DataFrame | None = None
    attacked_returns: pl.DataFrame | None = None


def export(policy: PolicyFile, out: Path, known: Known = Known(), *, onnx: bool = True) -> None:
    """Write the policy into the new folder `out`: see `NAMES`.

    Raises SpecError, and writes nothing, if the folder exists or cannot be written, or ONNX is asked for and
    not installed.
    """
    beside = {
        "sparsity": float(masks.achieved(policy.agent)),
        **known.facts,
        "provenance": provenance(),
    }
    about = describe(policy) | beside
    contents = {
        "safetensors": to_bytes(policy, beside),
        "json": (json.dumps(about, indent=2) + "\n").encode(),
        "numpy": Path(numpy_policy.__file__).read_bytes(),
        "card": card(about, known.results, known.certificates, known.attacked_returns).encode(),
    }
    if onnx:
        contents["onnx"] = onnx_graph(policy)
    _write({NAMES[name]: content for name, content in contents.items()}, out)


def _write(contents: Mapping[str, bytes], out: Path) -> None:
    """All files, or none: they are written beside the folder, which then takes its name."""
    out = out.absolute()
    part = out.with_name(out.name + ".part")
    if out.exists():
        raise SpecError(f"out: {out} exists; results are never overwritten, name another folder")
    try:
        part.mkdir(parents=True)
        for name, content in contents.items():
            (part / name).write_bytes(content)
        part.rename(out)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise SpecError(f"out: cannot write {out} ({error.strerror}); name a writable folder") from None
