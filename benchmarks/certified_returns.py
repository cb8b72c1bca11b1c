"""Whether pruning raises the return that is certified under attack at every step.

    python -m benchmarks.certified_returns --env hopper --arm ppo

trains seeds at several sparsities, certifies their returns (docs/certified_return.md) and keeps the limits in
`benchmarks/results/certified_returns/`. The report is made of all experiments that are there. What was
stopped goes on where it was. With `--attack-eps` attackers of the same policies, which draw their actions,
are searched for as well, and the strongest found for each stands beside its limit.
"""

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import polars as pl
import tyro

import jaxprune as jp
from benchmarks.machine import machine_line
from benchmarks.victims import of_runs, some_of
from experiments.command import in_one_line
from jaxprune import device, parse
from jaxprune.analysis import STRONGEST, Estimate, Student, adjusted_p
from jaxprune.certification import CertificationSpec, ReturnSpec, returns_under_attack
from jaxprune.progress import Update
from jaxprune.report.numbers import low_to_high, number, signed

RESULTS = Path(__file__).parent / "results"
TABLES, REPORT = RESULTS / "certified_returns", RESULTS / "certified_returns.md"
ATTACKED = TABLES / "attacked"

SHARE = 0.25
"""Of the clean mean: what must be certified for a radius to count."""

ERROR = 0.05
"""Of all intervals of a table of differences together."""

FEW = 6
"""Placebo differences that are listed one by one."""

KINDS = {"certified_mean": "certified", "certified_blocks": "certified by blocks"}
LARGEST = {
    "largest_eps_25": f"1000 times the largest eps with {SHARE:.0%} certified",
    "largest_eps_25_blocks": "the same by blocks",
}
EARLIER = "a band"
"""How tables from before tangents were certified, which leaves less of the same episodes."""

DENSE = "dense"
SEARCHED = "searched_mean"
OWN = "mean_own_std"
"""Columns of the limits, and what the dense are called here. `SEARCHED`: what is left under the strongest
attacker that was found; `OWN`: clean, with the policy's own spread."""


@dataclass(frozen=True)
class Arguments:
    """One experiment: members, and how hard they are looked at."""

    env: str = "hopper"
    """Task."""
    arm: str = "ppo"
    """Training arm."""
    schedule: str = "gradual"
    """When weights go."""
    seeds: str = "6"
    """How many seeds, or which ones, first:stop without the stop."""
    sparsities: str = "0,0.5,0.7,0.9"
    """Sparsities."""
    steps: int = 600_000
    """Environment steps of training per member."""
    episodes: int = 200
    """Clean episodes per member, half of which choose."""
    eps: str = "0.0025,0.0075,0.02"
    """Radii of the l_inf ball, normalised."""
    std: str = "1"
    """Times the policy's own standard deviation; of a comma list one is chosen, by member and radius."""
    confidence: float = 0.95
    """Of all limits of these members together."""
    runs: tuple[Path, ...] = ()
    """Finished runs whose members are looked at together, in place of a training."""
    attack_eps: str = ""
    """Radii at which attackers are searched for, a comma list."""
    attack_sparsities: str = ""
    """Of the members that are attacked, a comma list; all, if empty."""
    attack_steps: int = 200_000
    """Environment steps of training per adversary that is trained to the end."""
    attack_rungs: int = 5
    """Rungs of successive halving; 1 trains all to the end."""
    out: Path = Path("runs/certified_returns")
    """Where the runs are kept."""


def main(arguments: Arguments) -> None:
    """Do the experiment if it is not there yet, and write the report of all."""
    device.keep_compiled()
    ATTACKED.mkdir(parents=True, exist_ok=True)
    name = f"{_name(arguments)}-std{arguments.std}"
    if not (file := TABLES / f"{name}.csv").is_file():
        limits(arguments).write_csv(file, float_precision=6)
    REPORT.write_text(report())
    for eps in parse.numbers("attack_eps", arguments.attack_eps) if arguments.attack_eps else ():
        if not (file := ATTACKED / f"{name}-{eps:g}.csv").is_file():
            spec = search(eps, arguments.attack_steps, arguments.attack_rungs)
            folder = arguments.out / f"{_name(arguments)}-attackers-{eps:g}"
            found = strongest(spec, some_of(_members(arguments), arguments.attack_sparsities), folder)
            found.write_csv(file, float_precision=6)
        REPORT.write_text(report())
    print(REPORT.read_text())


def _name(arguments: Arguments) -> str:
    """That of the members."""
    if arguments.runs:
        return "+".join(run.name for run in arguments.runs)
    return run_name(arguments.env, arguments.schedule, arguments.arm)


def run_name(env: str, schedule: str, arm: str) -> str:
    """The folder of the run that trains these members."""
    return f"{env}-{schedule}-{arm}".replace("/", "-").replace(":", "_")


def limits(arguments: Arguments) -> pl.DataFrame:
    """A row per member and radius."""
    population = _members(arguments)
    spread = np.exp(np.asarray(population.agents.log_std)).mean(axis=-1)
    returned = ReturnSpec(
        return_episodes=arguments.episodes, return_eps=arguments.eps, return_std=arguments.std
    )
    began = perf_counter()
    spec = CertificationSpec(confidence=arguments.confidence)
    means = returns_under_attack(returned, population, spec, show).means
    return means.with_columns(
        spread=pl.Series(spread[means["member"]]),
        minutes=pl.lit((perf_counter() - began) / 60),
        by=pl.lit("tangents"),
    )


def _members(arguments: Arguments) -> jp.Population:
    """Those of the runs, or of the training."""
    return of_runs([jp.Population.load(run) for run in arguments.runs or (trained(arguments),)])


def search(eps: float, steps: int, rungs: int) -> jp.AttackSearchSpec:
    """How attackers of policies that draw their actions are looked for."""
    return jp.AttackSearchSpec(eps=f"{eps:g}", policy="sampled", search="small", steps=steps, rungs=rungs)


def strongest(spec: jp.AttackSearchSpec, population: jp.Population, folder: Path) -> pl.DataFrame:
    """A row per member: what the strongest attacker found for it leaves of R on fresh episodes."""
    found = jp.attack_search.run(spec, population, show, folder)
    _, regret = jp.attack_search.of_a_run(found.results, population)
    return regret.filter(attack=STRONGEST).select(
        "seed", "sparsity_asked", "attackers_tried", eps=pl.lit(spec.eps[0]), **{SEARCHED: "attacked_return"}
    )


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
    tables = {file.stem: _attacked_too(file) for file in sorted(TABLES.glob("*.csv"))}
    parts = [
        experiment(name, means, means["eps"].unique().sort().to_list()) for name, means in tables.items()
    ]
    return f"""# Certified returns under attack at every step

{machine_line("python -m benchmarks.certified_returns")}

Policies that draw their actions, l_inf balls in the normalised space. Means over seeds with 95 % intervals \
(Student's t) of the lower limit on E[max(R, lowest)], of that by blocks of steps, and of what MAD leaves, \
an estimate from above ("of R": of the return itself, which is smaller where returns are below the lowest); \
where attackers were searched for (random, critic, MAD, robust sarsa alone and with MAD, SA-RL and PA-AD), \
of what the strongest found for each member leaves, chosen on other episodes. \
All limits of an experiment hold together with the confidence named. Differences to the dense member of the \
seed: Student's t intervals that hold together over their table (Bonferroni) and, in brackets, the exact \
sign-flip test's p, family-wise over it too.

{chr(10).join(parts)}"""


def _attacked_too(file: Path) -> pl.DataFrame:
    """The limits of an experiment, beside what attackers left where they were searched for."""
    limits, searches = pl.read_csv(file), sorted(ATTACKED.glob(f"{file.stem}-*.csv"))
    return with_strongest(limits, searches, ["seed", "sparsity_asked", "eps"]) if searches else limits


def with_strongest(limits: pl.DataFrame, searches: list[Path], on: list[str]) -> pl.DataFrame:
    """A row per member and radius, its columns of searches empty where no attacker was searched for."""
    found = pl.concat([pl.read_csv(file) for file in searches])
    return limits.join(found, on=on, how="left", maintain_order="left")


def experiment(name: str, means: pl.DataFrame, radii: list[float]) -> str:
    """One arm at several sparsities: what is certified at these radii, and how pruned differs from dense."""
    first = means.row(0, named=True)
    sparsities = means["sparsity_asked"].unique().sort().to_list()
    at = {(s, e): means.filter(sparsity_asked=s, eps=e).sort("seed") for s in sparsities for e in radii}
    lines = [row("", [f"{s:g}" for s in sparsities]), "|---" * (1 + len(sparsities)) + "|"]
    own = OWN if OWN in means.columns else "mean_max_lowest"
    lines.append(row("clean", [interval(at[s, radii[0]][own]) for s in sparsities]))
    shown = KINDS | attacked(means)
    if SEARCHED in means.columns and means[SEARCHED].count():
        shown |= {SEARCHED: f"strongest of {means['attackers_tried'].max():.0f} found, of R"}
    if first.get("stds_tried", 1) > 1:
        shown = {"std": "times its std", "mean_max_lowest": "clean with that"} | shown
    for eps in radii:
        for column, about in shown.items():
            if any(at[s, eps][column].count() for s in sparsities):
                cells = [interval(at[s, eps][column]) for s in sparsities]
                lines.append(row(f"eps {eps:g}, {about}", cells))
        shares = [_share(at[s, eps], own) for s in sparsities]
        lines.append(row(f"eps {eps:g}, certified of clean", [f"{share:.0%}" for share in shares]))
    lines += _largest(at, sparsities, radii)
    certified = {
        f"eps {eps:g}, {about}": {_called(s): at[s, eps][kind].to_numpy() for s in sparsities}
        for eps in radii
        for kind, about in KINDS.items()
    }
    largest = {
        about: {_called(s): 1000 * at[s, radii[0]][column].to_numpy() for s in sparsities}
        for column, about in LARGEST.items()
        if column in means.columns
    }
    searched = [*differences("minus dense (adjusted p)", largest, DENSE), ""] if largest else []
    return "\n".join(
        [
            f"## {name}, {means['seed'].n_unique()} seeds",
            "",
            f"{first['episodes']} episodes certified per member, others chose; {first['simultaneous']} "
            f"limits together at {first['confidence']:g}, by {first.get('by') or EARLIER}; lowest "
            f"{first['lowest']:g}; {first['blocks']} blocks; {means['minutes'].unique().sum():.1f} minutes "
            "for all members.",
            "",
            *lines,
            "",
            *differences("minus dense (adjusted p)", certified, DENSE),
            "",
            *searched,
            *_under_the_strongest(means, own),
        ]
    )


def _under_the_strongest(means: pl.DataFrame, clean: str) -> list[str]:
    """What attackers that were searched for left to pruned members and to dense ones, in comparison."""
    if SEARCHED not in means.columns or not means[SEARCHED].count():
        return []
    sought = means.filter(pl.col(SEARCHED).is_not_null()).sort("seed")
    radii = sought["eps"].unique().sort().to_list()
    everywhere = set.intersection(*(set(sought.filter(eps=eps)["sparsity_asked"]) for eps in radii))
    if 0.0 not in everywhere or len(everywhere) < 2:
        return []

    def by_sparsity(eps: float, column: str) -> dict[str, np.ndarray]:
        at = sought.filter(eps=eps)
        return {_called(s): at.filter(sparsity_asked=s)[column].to_numpy() for s in sorted(everywhere)}

    kinds = {"clean": by_sparsity(radii[0], clean)}
    kinds |= {f"eps {eps:g}, under the strongest found": by_sparsity(eps, SEARCHED) for eps in radii}
    return [*differences("minus dense (adjusted p)", kinds, DENSE), ""]


def attacked(means: pl.DataFrame) -> dict[str, str]:
    """The columns of what MAD leaves: of what is certified or, in older tables, of the return."""
    whole, parts = "attacked_max_lowest", "attacked_blocks"
    there = [name for name in (whole, parts) if name in means.columns and not means[name].has_nulls()]
    if whole not in there:
        return {"attacked_mean": "MAD finds, of R"}
    if parts in there and not np.allclose(means[whole], means[parts]):
        return {whole: "MAD finds", parts: "MAD finds by blocks"}
    return {whole: "MAD finds"}


def _called(sparsity: float) -> str:
    return f"{sparsity:g}" if sparsity else DENSE


def _largest(at: dict, sparsities: list[float], radii: list[float]) -> list[str]:
    """The largest radius with a good share certified: searched for each member, or read off the means."""
    if LARGEST.keys() <= set(at[sparsities[0], radii[0]].columns):
        return [
            row(about, [interval(1000 * at[s, radii[0]][column]) for s in sparsities])
            for column, about in LARGEST.items()
        ]
    reached = [
        max((e for e in radii if _share(at[s, e], "mean_max_lowest") >= SHARE), default=None)
        for s in sparsities
    ]
    cells = ["-" if eps is None else f"{eps:g}" for eps in reached]
    return [row(f"largest eps with {SHARE:.0%} certified", cells)]


def differences(about: str, kinds: dict[str, dict[str, np.ndarray]], reference: str) -> list[str]:
    """A row for each kind, a column for each group minus the reference, over the same seeds.

    Intervals and p are family-wise over the whole table. The last column is the placebo: the reference's own
    seeds in pairs.
    """
    groups = [name for name in next(iter(kinds.values())) if name != reference]
    places = [(kind, group) for kind in kinds for group in groups]
    values = np.stack([kinds[kind][group] - kinds[kind][reference] for kind, group in places], axis=1)
    p = dict(zip(places, adjusted_p(values), strict=True))
    every = Student(1 - ERROR / len(places))  # Bonferroni
    seen = {place: every.mean(of[~np.isnan(of)]) for place, of in zip(places, values.T, strict=True)}
    lines = [
        row(about, [*groups, f"{reference} minus {reference}, pairs of seeds"]),
        "|---" * (2 + len(groups)) + "|",
    ]
    for kind, of_groups in kinds.items():
        own = of_groups[reference]
        placebo = _placebo(own[: len(own) // 2 * 2].reshape(-1, 2) @ [1, -1])
        cells = [f"{_difference(seen[kind, group])} ({number(p[kind, group])})" for group in groups]
        lines.append(row(kind, [*cells, placebo]))
    return lines


def _placebo(pairs: np.ndarray) -> str:
    """The differences of different seeds of the reference, or of many their mean and spread."""
    if len(pairs) <= FEW:
        return ", ".join(signed(pair) for pair in pairs)
    return f"{signed(np.nanmean(pairs))} (sd {number(np.nanstd(pairs, ddof=1))}, {len(pairs)} pairs)"


def _difference(seen: Estimate) -> str:
    """A mean difference and its interval, if there are seeds for one."""
    if seen.low is None or seen.high is None:
        return signed(seen.mean)
    return f"{signed(seen.mean)} {low_to_high(seen.low, seen.high)}"


def _share(rows: pl.DataFrame, clean: str) -> float:
    """What is certified of the clean mean, of the means over seeds."""
    return float(rows.select(pl.sum("certified_mean") / pl.sum(clean)).item())


def interval(values: pl.Series) -> str:
    """Mean over seeds, those that diverged left out, with its interval."""
    known = values.drop_nulls().to_numpy()
    if known.size < 2:
        return number(known.mean()) if known.size else "-"
    mean, low, high = Student().mean(known)
    return f"{number(mean)} {low_to_high(low, high)}"


def row(first: str, cells: list[str]) -> str:
    """A row of a table in Markdown."""
    return f"| {' | '.join([first, *cells])} |"


if __name__ == "__main__":
    with in_one_line():
        main(tyro.cli(Arguments))
