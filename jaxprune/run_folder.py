"""The folder a sweep leaves behind: what was asked, the tables, the checkpoints. Never overwritten."""

import json
import os
import platform
import shlex
import subprocess
import sys
import warnings
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import polars as pl

from jaxprune import precision
from jaxprune.errors import SpecError
from jaxprune.files import check_keeps_checkpoints, in_one_piece
from jaxprune.phases import Phase, from_json, to_json, together
from jaxprune.spec import SweepSpec

PACKAGES = (
    "jaxprune",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "mujoco",
    "mujoco-mjx",
    "gymnasium",
    "brax",
    "numpy",
)

OPTIONAL = ("warp-lang",)
"""Packages that move a task's physics where they are installed."""

FORMAT = 3
"""Of run folders: raised when an older program could not read them, or would read them wrongly."""

READABLE = (2, FORMAT)
"""Formats whose finished runs this program reads. Format 2 kept every member twice, with its mask and
without."""

PHASES = "phases.json"
"""Where the time of a run went, see `phases`."""

DECISIVE = ("jax", "jaxlib", "mujoco", "mujoco-mjx", "brax")
"""The packages whose version decides the last bits of a training, and with them the whole of it, beside those
of the optional ones that were there when it began."""


@dataclass(frozen=True)
class RunFolder:
    """A run's files.

    about: the name of the file with everything needed to repeat the run. checkpoints/: the training, to go on
    from. population/: the trained members. NAME.parquet and .csv: the tables.
    """

    path: Path
    about: str = "spec.json"

    @classmethod
    def create(
        cls, path: Path, spec: SweepSpec, physics: str, merged: dict[str, Any] | None = None
    ) -> "RunFolder":
        """Make the folder and write `spec.json`. Raises SpecError if it exists or cannot be written.

        merged: of a run that was put together from others: which, and what else is to be known of that.
        """
        content = {
            "format": FORMAT,
            "spec": spec.to_dict(),
            "resolved": {
                "physics": physics,
                "eps": [budget.eps for budget in spec.budgets],
                "score": spec.ranking,
            },
            **({} if merged is None else {"merged": merged}),
            **provenance(),
        }
        check_keeps_checkpoints(path)
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            raise SpecError(f"out: {path} exists; a run is never overwritten, name another folder") from None
        except OSError as error:
            raise SpecError(f"out: cannot create {path} ({error.strerror}); name a writable folder") from None
        folder = cls(path)
        folder.write_json("spec.json", content)
        return folder

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """An existing run. Raises SpecError if there is none."""
        if not (path / "spec.json").is_file():
            raise SpecError(f"run: {path} is no run folder (it holds no spec.json)")
        return cls(path)

    def spec(self) -> SweepSpec:
        """What the run was asked to do, under the physics that it ran on.

        Raises SpecError if spec.json cannot be read, or is of another format or precision than this program.
        """
        content = self._content()
        try:
            return replace(SweepSpec.from_dict(content["spec"]), physics=content["resolved"]["physics"])
        except (KeyError, TypeError, AttributeError) as error:
            raise SpecError(f"run: {self._written} cannot be read ({error})") from None

    def continuable(self) -> dict[str, Any]:
        """What the run was asked to do.

        Raises SpecError unless this installation goes on with it exactly as it would have gone on.
        """
        content = self._content()
        if self.format != FORMAT:
            raise SpecError(
                f"resume: {self.path} is of format {self.format}, this program goes on with format {FORMAT}"
            )
        if "merged" in content:
            raise SpecError(
                f"resume: {self.path} was merged from finished runs; there is nothing to go on with"
            )
        then, now = content["versions"], provenance()["versions"]
        for name in (*DECISIVE, *(name for name in OPTIONAL if name in then)):
            if (begun := then.get(name)) != now.get(name):
                raise SpecError(
                    f"resume: {self.path} was begun with {name} {begun}, this is {name} {now.get(name)}: "
                    f"the tables would not be what they would have been; install {name}=={begun}"
                )
        self._check_processor_devices(content["device"])
        self._check_flags(content.get("xla_flags", ""))
        return content

    def _check_processor_devices(self, then: dict[str, Any]) -> None:
        """Raise SpecError where JAX makes another number of devices of the processor than it did then."""
        now = provenance()["device"]
        if then["platform"] == now["platform"] == "cpu" and then["count"] != now["count"]:
            raise SpecError(
                f"resume: {self.path} was begun with the processor as {then['count']} devices, now it is "
                f"{now['count']}: the tables would not be what they would have been; set "
                f"JAX_NUM_CPU_DEVICES={then['count']}"
            )

    def _check_flags(self, then: str) -> None:
        """Raise SpecError where XLA is now told to compile otherwise than it was then."""
        now = provenance()["xla_flags"]
        if _decisive_flags(then) != _decisive_flags(now):
            raise SpecError(
                f"resume: {self.path} was begun with XLA_FLAGS={shlex.quote(then)}, now they are "
                f"{shlex.quote(now)}: the tables would not be what they would have been; set them as then "
                "(commands add one, so that what the library began goes on with jaxprune.sweep.resume)"
            )

    def merged(self) -> dict[str, Any] | None:
        """What a merged run says of where it comes from; None for any other run."""
        return self._content().get("merged")

    def origin(self) -> dict[str, Any]:
        """Where the run is, and what its results depend on beside its spec."""
        content = self._content()
        return {"folder": str(self.path), **{name: content[name] for name in provenance()}}

    @property
    def format(self) -> int:
        """Of the run's files. Raises SpecError if this program cannot go by it."""
        return self._content().get("format", 1)

    @property
    def _written(self) -> Path:
        return self.path / self.about

    def _content(self) -> dict[str, Any]:
        """What is written about the run. Raises SpecError if this program cannot go by it."""
        try:
            content = json.loads(self._written.read_text())
            written, author = content.get("format", 1), content["versions"]["jaxprune"]
            computed, _ = content["precision"], [content["device"][name] for name in ("platform", "count")]
        except (OSError, AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise SpecError(f"run: {self._written} cannot be read ({error})") from None
        if written not in READABLE:
            raise SpecError(
                f"run: {self.path} is of format {written}, written by jaxprune {author}; this is jaxprune "
                f"{version('jaxprune')}, which reads format {FORMAT}"
            )
        if computed != precision.in_words():
            raise SpecError(
                f"run: {self.path} was computed in {computed}, this program computes in "
                f"{precision.in_words()}"
            )
        return content

    @property
    def checkpoints(self) -> Path:
        """Where the training is kept while it runs."""
        return self.path / "checkpoints"

    def spent(self, scale: float) -> Path:
        """What the episodes behind certified returns earned, and could be shifted by.

        scale: how many times their own standard deviation the policies drew with.
        """
        return self.path / ("spent.npz" if scale == 1 else f"spent-std-{scale}.npz")

    @property
    def trunk(self) -> Path:
        """Where it is kept as long as one member is trained for all of its seed and arm."""
        return self.path / "checkpoints-trunk"

    @property
    def population(self) -> Path:
        """Where the trained members are kept."""
        return self.path / "population"

    def write_json(self, name: str, content: Any) -> None:
        """Write a JSON file in one piece: it is complete or absent."""
        in_one_piece(self.path / name, lambda part: part.write_text(json.dumps(content, indent=2) + "\n"))

    def add_phases(self, phases: list[Phase]) -> None:
        """Write where the time went, what earlier pieces of the same run have taken included."""
        written = self.path / PHASES
        try:
            before = from_json(json.loads(written.read_text())) if written.is_file() else []
        except (OSError, ValueError) as error:
            warnings.warn(f"phases: {written} is damaged and begun anew ({error})", stacklevel=2)
            before = []
        self.write_json(PHASES, to_json(together(before, phases)))

    def write_table(self, name: str, table: pl.DataFrame) -> None:
        """Write `name.parquet` and `name.csv`, each in one piece."""
        in_one_piece(self.path / f"{name}.parquet", table.write_parquet)
        in_one_piece(self.path / f"{name}.csv", table.write_csv)

    def has_table(self, name: str) -> bool:
        """Whether a table of the run has been written."""
        return (self.path / f"{name}.parquet").is_file()

    def table(self, name: str) -> pl.DataFrame:
        """A table of the run. Raises SpecError if it is not there, as in a run that was not finished."""
        path = self.path / f"{name}.parquet"
        if not self.has_table(name):
            raise SpecError(f"run: {path} is missing; finish the run with --resume first")
        try:
            table = pl.read_parquet(path)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise SpecError(f"run: {path} is damaged ({error}); make the run anew") from None
        # Earlier runs had one arm only, which not every table that says who a member is named.
        unnamed = "seed" in table.columns and "arm" not in table.columns
        return table.with_columns(arm=pl.lit("ppo")) if unnamed else table


def provenance() -> dict[str, Any]:
    """What a result depends on beside its spec: versions, device, flags of XLA, commit, command."""
    device = jax.devices()[0]
    return {
        "command": _command(),
        "precision": precision.in_words(),
        "commit": _commit(),
        "device": {"platform": device.platform, "kind": device.device_kind, "count": jax.device_count()},
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "system": platform.system()},
        "versions": {"python": platform.python_version()} | versions(),
    }


def versions() -> dict[str, str]:
    """Of the packages that a result depends on; of optional ones, those that are there."""
    found = {name: version(name) for name in PACKAGES}
    for name in OPTIONAL:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _decisive_flags(flags: str) -> set[str]:
    """The flags of XLA that can change what is computed; the number of devices is looked at by itself."""
    return {flag for flag in flags.split() if not flag.startswith(("--xla_dump", "--xla_force_host"))}


def _command() -> str:
    """The command line of this process, a module of this repository as `python -m` names it."""
    program, *arguments = sys.argv
    path = Path(program)
    name = f"python -m {path.parent.name}.{path.stem}" if path.suffix == ".py" else path.name
    return " ".join([name, shlex.join(arguments)]).strip()


def _commit() -> str | None:
    """The commit of the source tree, with "+changes" where it is not clean; None outside git."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        dirty = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("+changes" if dirty.stdout.strip() else "")
