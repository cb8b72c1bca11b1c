"""What a sweep does and finds, as scalars for a viewer of experiments: TensorBoard or Weights & Biases.

A log is one more listener of the updates that the sweep sends anyway, so it asks the device for nothing. What
comes out is written at the end, from the tables. The packages are imported when a log is made.
"""

import json
import math
import os
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import polars as pl

from jaxprune.errors import SpecError, unknown_name
from jaxprune.progress import Update

CURVES = (
    *("return_mean", "length_mean", "sparsity", "policy_loss", "value_loss"),
    *("entropy", "kl", "clip_fraction"),
)
"""The columns of the table `curves` that are drawn against the steps of each member."""


class Writer(Protocol):
    """What takes scalars."""

    def write(self, axis: str, step: int, values: Mapping[str, float]) -> None:
        """Values by name at a step; all of them finite. axis: what the steps count."""
        ...

    def close(self) -> None:
        """Nothing more will come."""
        ...


class TensorBoard:
    """Event files in the folder `tensorboard` of a run, by the package tensorboardX."""

    package = "tensorboardX"

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"))
        self._writer.add_text("spec", f"```\n{json.dumps(config, indent=2)}\n```")

    def write(self, axis: str, step: int, values: Mapping[str, float]) -> None:
        """A point of every scalar."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


class WandB:
    """A run of the project `jaxprune`, kept in the folder `wandb` of ours.

    What leaves this machine is up to the user's own settings of wandb; with WANDB_MODE=offline nothing does.
    """

    package = "wandb"

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        import wandb  # pyright: ignore[reportMissingImports]  it is an extra

        project = os.environ.get("WANDB_PROJECT", "jaxprune")
        try:
            self._run = wandb.init(project=project, name=folder.name, dir=str(folder), config=dict(config))
        except wandb.errors.Error as error:
            (said, *_) = str(error).splitlines() or [type(error).__name__]
            raise SpecError(f"log: wandb cannot begin ({said}); wandb login, or WANDB_MODE=offline") from None
        for axis, names in (("steps_done", "progress/*"), ("env_steps", "*")):
            self._run.define_metric(axis)
            self._run.define_metric(names, step_metric=axis)

    def write(self, axis: str, step: int, values: Mapping[str, float]) -> None:
        """A point of every scalar."""
        self._run.log({axis: step, **values})

    def close(self) -> None:
        """Write what is left."""
        self._run.finish()


LOGS = {"tensorboard": TensorBoard, "wandb": WandB}
"""What a log can be written for."""


class Log:
    """The log of one sweep, to be opened as a context.

        with Log("tensorboard", out, spec.to_dict()) as log:
            made = sweep.run(spec, out, log.show)
            log.found(made.curves, made.results, made.certificates)

    kind: one of `LOGS`. folder: of the run; it need not be there before the first update. config: its spec.

    Raises SpecError on construction for an unknown kind, and where its package is not installed.
    """

    def __init__(self, kind: str, folder: Path, config: Mapping[str, Any]) -> None:
        if kind not in LOGS:
            raise unknown_name("log", kind, LOGS)
        self._kind, self._folder, self._config = LOGS[kind], folder, config
        if find_spec(self._kind.package) is None:
            raise SpecError(
                f"log: {kind} needs the package {self._kind.package}; pip install 'jaxprune[log]', "
                "or leave --log out"
            )
        self._writer: Writer | None = None

    def __enter__(self) -> "Log":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def show(self, update: Update) -> None:
        """Where the sweep stands: what came last at each sparsity, against the steps of all members."""
        told = {f"sparsity-{sparsity:g}": mean for sparsity, mean, _ in update.rows}
        speed = {"steps_per_second": update.steps_per_second} if update.steps_per_second else {}
        group = f"progress/{_plain(update.phase)}"
        values = {f"{group}/{name}": value for name, value in (told | speed).items()}
        self._write("steps_done", update.steps_done, values)

    def found(self, curves: pl.DataFrame, results: pl.DataFrame, certificates: pl.DataFrame) -> None:
        """What came out: the curves of every member, and at their end its returns and certificates."""
        last = 0
        for rows in curves.sort("env_steps").partition_by("env_steps", maintain_order=True):
            last = int(rows["env_steps"][0])
            points = {
                f"{column}/{_member(row)}": row[column]
                for row in rows.iter_rows(named=True)
                for column in CURVES
            }
            self._write("env_steps", last, points)
        returns = {
            f"final_return/{row['attack']}-eps-{row['eps']:g}/{_member(row)}": row["return_mean"]
            for row in results.iter_rows(named=True)
        }
        bounds = {
            f"certificate/{row['bound']}-{row['quantity']}-eps-{row['eps']:g}/{_member(row)}": row["value"]
            for row in certificates.iter_rows(named=True)
        }
        self._write("env_steps", last, returns | bounds)

    def _write(self, axis: str, step: int, values: Mapping[str, float | None]) -> None:
        """The finite ones of these values; the first time, the run's folder is there to begin in."""
        self._writer = writer = self._writer or self._kind(self._folder, self._config)
        known = {name: value for name, value in values.items() if value is not None and math.isfinite(value)}
        if known:
            writer.write(axis, step, known)


def _member(row: Mapping[str, Any]) -> str:
    """Who a row is about, as a part of a name."""
    return f"{_plain(row['arm'])}-{row['sparsity_asked']:g}-seed-{row['seed']}"


def _plain(name: str) -> str:
    """A name without what TensorBoard would replace."""
    return re.sub(r"[^-\w.]+", "-", name)
