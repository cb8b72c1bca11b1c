"""Whether pruning raises the return that is certified under attack at every step.

    python -m benchmarks.certified_returns --env hopper --arm ppo

trains seeds at several sparsities, certifies their returns (docs/certified_return.md) and keeps the limits in
`benchmarks/results/certified_returns/`. The report is made of all experiments that are there. What was
stopped goes on where it was.
"""

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import polars as pl
import tyro

import jaxprune as jp
from benchmarks.machine import machine_line
from benchmarks.victims import of_runs
from jaxprune import device
from jaxprune.analysis import Student, adjusted_p
from jaxprune.certification import CertificationSpec, ReturnSpec, returns_under_attack
from jaxprune.progress import Update
from jaxprune.report.numbers import low_to_high, number, signed

RESULTS = Path(__file__).parent / "results"
TABLES, REPORT = RESULTS / "certified_returns", RESULTS / "certified_returns.md"

SHARE = 0.25
"""Of the clean mean: what must be certified for a radius to count."""


@dataclass(frozen=True)
class Arguments:
    """One experiment: members, and how hard they are looked at."""

    env: str = "hopper"
    """Task."""
    arm: str = "ppo"
    """Training arm."""
    schedule: str = "gradual"
    """When weights go."""
    seeds: int = 6
    """Seeds."""
    sparsities: str = "0,0.5,0.7,0.9"
    """Sparsities."""
    steps: int = 600_000
    """Environment steps of training per member."""
    episodes: int = 200
    """Clean episodes per member, half of which choose."""
    eps: str = "0.0025,0.0075,0.02"
    """Radii of the l_inf ball, normalised."""
    std: float = 1.0
    """Times the policy's own standard deviation."""
    runs: tuple[Path, ...] = ()
    """Finished runs whose members are looked at together, in place of a training."""
    out: Path = Path("runs/certified_returns")
    """Where the runs are kept."""


def main(arguments: Arguments) -> None:
    """Do the experiment if it is not there yet, and write the report of all."""
    device.keep_compiled()
    file = TABLES / f"{_name(arguments)}-std{arguments.std:g}.csv"
    if not file.is_file():
        TABLES.mkdir(exist_ok=True)
        limits(arguments).write_csv(file, float_precision=6)
    REPORT.write_text(report())
    print(REPORT.read_text())


def _name(arguments: Arguments) -> str:
    """That of the members."""
    if arguments.runs:
        return "+".join(run.name for run in arguments.runs)
    asked = f"{arguments.env}-{arguments.schedule}-{arguments.arm}"
    return asked.replace("/", "-").replace(":", "_")


def limits(arguments: Arguments) -> pl.DataFrame:
    """A row per member and radius."""
    population = of_runs([jp.Population.load(run) for run in arguments.runs or (trained(arguments),)])
    returned = ReturnSpec(
        return_episodes=arguments.episodes, return_eps=arguments.eps, return_std=arguments.std
    )
    began = perf_counter()
    means = returns_under_attack(returned, population, CertificationSpec(), show).means
    return means.with_columns(minutes=pl.lit((perf_counter() - began) / 60))


def trained(arguments: Arguments) -> Path:
    """The run of the members, finished."""
    spec = jp.SweepSpec(
        env=arguments.env,
        arms=arguments.arm,
        schedule=arguments.schedule,
        seeds=arguments.seeds,
        sparsities=arguments.sparsities,
        steps=arguments.steps,
        attacks="mad",
    )
    folder = arguments.out / _name(arguments)
    if not (folder / "population").is_dir():
        (jp.sweep.resume(folder, show) if folder.is_dir() else jp.sweep.run(spec, folder, show))
    return folder


def show(update: Update) -> None:
    """One line of progress."""
    print(f"{update.phase}: {update.steps_done:,} steps, {update.steps_per_second:,.0f} a second", flush=True)


def report() -> str:
    """All experiments, as Markdown."""
    parts = [_experiment(file.stem, pl.read_csv(file)) for file in sorted(TABLES.glob("*.csv"))]
    return f"""# Certified returns under attack at every step

{machine_line("python -m benchmarks.certified_returns")}

Policies that draw their actions, l_inf balls in the normalised space. Means over seeds with 95 % intervals \
(Student's t) of the lower limit on E[max(R, lowest)], of that by blocks of steps, and of the return under \
MAD, an estimate from above. All limits of an experiment hold together with the confidence named. \
Differences to the dense member of the seed: exact sign-flip test, family-wise over all that the experiment \
compares.

{chr(10).join(parts)}"""


def _experiment(name: str, means: pl.DataFrame) -> str:
    first = means.row(0, named=True)
    radii = means["eps"].unique().sort().to_list()
    sparsities = means["sparsity_asked"].unique().sort().to_list()
    at = {(s, e): means.filter(sparsity_asked=s, eps=e).sort("seed") for s in sparsities for e in radii}
    lines = [_row("", [f"{s:g}" for s in sparsities]), "|---" * (1 + len(sparsities)) + "|"]
    lines.append(_row("clean", [_mean(at[s, radii[0]]["mean_max_lowest"]) for s in sparsities]))
    for eps in radii:
        for column, about in (
            ("certified_mean", "certified"),
            ("certified_blocks", "certified by blocks"),
            ("attacked_mean", "MAD finds"),
        ):
            lines.append(_row(f"eps {eps:g}, {about}", [_mean(at[s, eps][column]) for s in sparsities]))
        shares = [_share(at[s, eps]) for s in sparsities]
        lines.append(_row(f"eps {eps:g}, certified of clean", [f"{share:.0%}" for share in shares]))
    reached = [max((e for e in radii if _share(at[s, e]) >= SHARE), default=None) for s in sparsities]
    cells = ["-" if eps is None else f"{eps:g}" for eps in reached]
    lines.append(_row(f"largest eps with {SHARE:.0%} certified", cells))
    return "\n".join(
        [
            f"## {name}, {means['seed'].n_unique()} seeds",
            "",
            f"{first['episodes']} episodes certified per member, others chose; {first['simultaneous']} "
            f"limits together at {first['confidence']:g}; lowest {first['lowest']:g}; {first['blocks']} "
            f"blocks; {first['minutes']:.1f} minutes for all members.",
            "",
            *lines,
            "",
            *_differences(at, sparsities, radii),
            "",
        ]
    )


def _differences(at: dict, sparsities: list[float], radii: list[float]) -> list[str]:
    """Certified, pruned minus dense, by radius; and dense minus dense of other seeds, as the placebo."""
    kinds = {"certified_mean": "certified", "certified_blocks": "certified by blocks"}
    pruned = [s for s in sparsities if s > 0]
    places = [(s, e, kind) for s in pruned for e in radii for kind in kinds]
    value = {(*place, kind): rows[kind].to_numpy() for place, rows in at.items() for kind in kinds}
    differences = np.stack([value[s, e, kind] - value[0.0, e, kind] for s, e, kind in places], axis=1)
    p = dict(zip(places, adjusted_p(differences), strict=True))
    mean = dict(zip(places, differences.mean(axis=0), strict=True))
    lines = []
    for eps in radii:
        for kind, about in kinds.items():
            dense = value[0.0, eps, kind]
            pairs = len(dense) // 2
            placebo = ", ".join(signed(one - other) for one, other in dense[: 2 * pairs].reshape(-1, 2))
            cells = [f"{signed(mean[s, eps, kind])} ({number(p[s, eps, kind])})" for s in pruned]
            lines.append(_row(f"eps {eps:g}, {about}", [*cells, placebo]))
    header = [*(f"{s:g}" for s in pruned), "dense minus dense, pairs of seeds"]
    return [_row("minus dense (adjusted p)", header), "|---" * (1 + len(header)) + "|", *lines]


def _share(rows: pl.DataFrame) -> float:
    """What is certified of the clean mean, of the means over seeds."""
    return float(rows["certified_mean"].sum() / rows["mean_max_lowest"].sum())


def _mean(values: pl.Series) -> str:
    mean, low, high = Student().mean(values.to_numpy())
    return f"{number(mean)} {low_to_high(low, high)}"


def _row(first: str, cells: list[str]) -> str:
    return f"| {' | '.join([first, *cells])} |"


if __name__ == "__main__":
    main(tyro.cli(Arguments))
