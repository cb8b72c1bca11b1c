"""A run folder as plain values: tables are lists of rows from the CSV files, networks are NumPy arrays."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orbax.checkpoint as ocp

from tests.recomputation.policy import Policy

Row = dict[str, Any]

TEXT = (
    *("task", "physics", "arm", "schedule", "score", "scope", "attack", "norm", "space", "found_by"),
    *("policy", "charge", "episode_set", "bound", "quantity", "kind", "arithmetic", "verdict"),
)
"""The columns that hold words; all others hold numbers or true and false."""


class Run(NamedTuple):
    """spec: the options of the run. agents, unmasked: by member, as it acts and with its mask taken off."""

    spec: Mapping[str, Any]
    physics: str
    agents: list[Policy]
    unmasked: list[Policy]
    tables: dict[str, list[Row]]

    def seed(self, member: int) -> int:
        """Members are numbered seed by seed."""
        return member // len(self.spec["sparsities"])

    def sparsity(self, member: int) -> float:
        return self.spec["sparsities"][member % len(self.spec["sparsities"])]

    def dense_twin(self, member: int) -> int:
        """The member of the same seed and sparsity 0."""
        return self.seed(member) * len(self.spec["sparsities"]) + self.spec["sparsities"].index(0.0)


def read(path: Path) -> Run:
    content = json.loads((path / "spec.json").read_text())
    spec = content["spec"]
    (step,) = (int(folder.name) for folder in (path / "population").iterdir() if folder.name.isdigit())
    with ocp.CheckpointManager((path / "population").resolve()) as manager:
        saved = manager.restore(step, args=ocp.args.StandardRestore())
    members = range(spec["seeds"] * len(spec["sparsities"]))
    return Run(
        spec=spec | {"eps": content["resolved"]["eps"]},
        physics=content["resolved"]["physics"],
        agents=[_policy(saved["agents"], member, masked=True) for member in members],
        unmasked=[_policy(saved["agents"], member, masked=False) for member in members],
        tables={file.stem: table(file) for file in path.glob("*.csv")},
    )


def table(file: Path) -> list[Row]:
    """The rows of a CSV file, an empty cell being None."""
    with file.open(newline="") as lines:
        return [{name: _value(name, text) for name, text in row.items()} for row in csv.DictReader(lines)]


def _value(column: str, text: str) -> Any:
    if text == "":
        return None
    if column in TEXT:
        return text
    if text in ("true", "false"):
        return text == "true"
    return float(text)


def _policy(agents: Mapping[str, Any], member: int, *, masked: bool) -> Policy:
    network, seen = agents["policy"], agents["normalizer"]
    names = [f"layer_{i}" for i in range(len(network))]
    kernels = [np.array(network[name]["kernel"][member]) for name in names]
    if masked:
        kernels = [
            kernel * np.array(agents["mask"][name][member])
            for kernel, name in zip(kernels, names, strict=True)
        ]
    biases = [np.array(network[name]["bias"][member]) for name in names]
    return Policy(
        layers=[(kernel.T, bias) for kernel, bias in zip(kernels, biases, strict=True)],
        log_std=np.array(agents["log_std"][member]),
        mean=np.array(seen["mean"][member]),
        std=np.sqrt(np.array(seen["variance"][member])) + np.float32(1e-8),
    )
