"""Finished sweeps that differ in their seeds only, put together into one: the run that had all the seeds.

Agents and tables are taken as they are; what compares members (regret, verdicts) is worked out anew.

Whoever looks at the verdicts again whenever more seeds are done finds, sooner or later, an effect that is not
there. So a merge can be one of several planned looks, each with a share of the error: a look at n of the N
seeds planned, the last one having been at m, tests at `error (n - m) / N`. The shares of all looks add up to
no more than the error, and by Boole's inequality so does the probability of any wrong verdict at any look
(alpha spending, linear in the number of seeds). The plan has to stand before the first look.
"""

import shutil
from collections import ChainMap
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

from jaxprune import checkpoint, kept, parse
from jaxprune.analysis import decompose, needed_pairs, shift_verdicts, summarise_shifts, sweet_spots
from jaxprune.certification.attacked_return import AttackedReturns, attacked_returns
from jaxprune.certification.spent import Spent, joined_spent
from jaxprune.certification.tables import CONFIDENCE
from jaxprune.errors import SpecError
from jaxprune.job import Job, job
from jaxprune.population import Members, Population, Saved
from jaxprune.run_folder import RunFolder
from jaxprune.shift_evaluation import ShiftEvaluation
from jaxprune.spec import SweepSpec
from jaxprune.sweep import Sweep
from jaxprune.tables import layers

TABLES = ("results", "certificates", "curves", "episodes", "sampled")
"""The tables of a run whose rows are of one member each."""


class Plan(NamedTuple):
    """What was planned before the first look.

    seeds: how many there will be in the end. verdict_error: of all looks together, as the runs were given
    it. looks: the numbers of seeds at which verdicts were given.
    """

    seeds: int
    verdict_error: float | None
    looks: tuple[int, ...] = ()

    def next(self, count: int, error: float, families: int = 1) -> tuple["Plan", float]:
        """The plan after a look at so many seeds, and that look's share of the error.

        The error is that of all looks and families together, one of each arm.

        Raises SpecError for a look that was not planned, or that could decide nothing.
        """
        last = self.looks[-1] if self.looks else 0
        if self.seeds < count:
            raise SpecError(
                f"planned_seeds: {self.seeds} are planned, and a look at {count} is at more than those"
            )
        if not last < count:
            raise SpecError(
                f"planned_seeds: {self.seeds} are planned and {last} were looked at, so a look at {count} is "
                "none of the plan"
            )
        share = error * (count - last) / self.seeds
        needed = needed_pairs(share, families)
        if count < needed:
            raise SpecError(
                f"seeds: a look at {count} of {self.seeds} planned ones has error {share:.2g}, at which "
                f"{needed} are needed to decide anything; merge more at once"
            )
        return self._replace(looks=(*self.looks, count)), share


def finished(run: Path) -> bool:
    """Whether the run is there with all tables that a merge reads."""
    if not (run / "spec.json").is_file():
        return False
    folder = RunFolder(run)
    spec = folder.spec()
    further = {"shifts": spec.shift_episodes, "attacked_returns": spec.return_episodes}
    return all(folder.has_table(name) for name in (*TABLES, *filter(further.get, further)))


def merge(runs: Sequence[Path], out: Path, planned_seeds: int | None = None) -> Sweep:
    """Write the run that had the seeds of all these finished runs into the new folder `out`.

    Args:
        runs: folders of sweeps, or of earlier merges.
        out: a new folder, as a sweep leaves it, but with nothing to resume.
        planned_seeds: how many seeds the whole experiment will have, if verdicts are given before all of
            them are there.

    Raises:
        SpecError: they are not finished, differ in more than their seeds, have a seed in common, the look
            was not planned, or `out` exists.
    """
    if len(runs) < 2:
        raise SpecError("runs: a merge needs two or more folders")
    folders = [RunFolder.open(run) for run in runs]
    specs = [folder.spec() for folder in folders]
    plans = [_plan(folder) for folder in folders]
    _check_alike(runs, [_but_for_seeds(*each) for each in zip(specs, plans, strict=True)])
    spec = replace(_but_for_seeds(specs[0], plans[0]), seeds=_seeds(runs, specs))
    plan, spec = _looked_at(spec, plans, planned_seeds)
    if out.exists():
        raise SpecError(f"out: {out} exists; a run is never overwritten, name another folder")
    # Whole or absent: it is written beside the folder, and then takes its name.
    part = out.absolute().with_name(f"{out.absolute().name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        merged = _write(folders, specs, spec, plan, part)
        part.rename(out)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return replace(merged, folder=out)


def _write(
    folders: list[RunFolder], specs: list[SweepSpec], spec: SweepSpec, plan: Plan | None, out: Path
) -> Sweep:
    whole, parts = job(spec), [job(part) for part in specs]
    tables = {name: _joined(name, folders, parts, whole) for name in TABLES}
    tables["regret"] = decompose(tables["results"])
    tables["verdicts"] = sweet_spots(tables["regret"], alpha=spec.error)
    shifted = _shifted(folders, parts, whole) if spec.shift_episodes else None
    population = _population([Population.load(folder.path) for folder in folders], whole)
    tables["layers"] = layers(population)
    about = {"runs": [folder.origin() for folder in folders], **({} if plan is None else plan._asdict())}
    folder = RunFolder.create(out, spec, whole.env.physics, merged=about)
    saved = Saved(population.agents, jnp.asarray(population.diverged))
    checkpoint.save(folder.population, spec.iterations, saved)
    returned = _returned(folders, folder, population, parts, whole) if spec.return_episodes else None
    asked_for = [part.tables() for part in (shifted, returned) if part is not None]
    for name, table in ChainMap(tables, *asked_for).items():
        folder.write_table(name, table)
    return Sweep(spec=spec, population=population, folder=out, shifted=shifted, returned=returned, **tables)


def _but_for_seeds(spec: SweepSpec, plan: Plan | None) -> SweepSpec:
    """The spec without its seeds, and with the error of all looks instead of that of the last one."""
    error = spec.verdict_error if plan is None else plan.verdict_error
    return replace(
        spec, seeds=1 if error is None else needed_pairs(error, spec.families), verdict_error=error
    )


def _check_alike(runs: Sequence[Path], specs: list[SweepSpec]) -> None:
    for run, spec in zip(runs[1:], specs[1:], strict=True):
        for field in fields(SweepSpec):
            first, other = getattr(specs[0], field.name), getattr(spec, field.name)
            if first != other:
                raise SpecError(
                    f"merge: {field.name} is {first} in {runs[0]} and {other} in {run}; runs to be merged "
                    "differ in their seeds only"
                )


def _seeds(runs: Sequence[Path], specs: list[SweepSpec]) -> str:
    """All seeds. Raises SpecError for one that two runs have."""
    held: dict[int, Path] = {}
    for run, spec in zip(runs, specs, strict=True):
        for seed in spec.seed_numbers:
            if seed in held:
                raise SpecError(f"seeds: {seed} is in both {held[seed]} and {run}; each seed counts once")
            held[seed] = run
    return parse.runs_of(held)


def _plan(folder: RunFolder) -> Plan | None:
    """What was planned at earlier looks, if this is a merge with a plan."""
    about = folder.merged()
    if about is None or "looks" not in about:
        return None
    return Plan(about["seeds"], about["verdict_error"], tuple(about["looks"]))


def _looked_at(
    spec: SweepSpec, before: list[Plan | None], planned: int | None
) -> tuple[Plan | None, SweepSpec]:
    """The plan after this look, and the spec with the error of this look."""
    earlier = [plan for plan in before if plan is not None]
    if len(earlier) > 1:
        raise SpecError("runs: two of them are looks of a plan; merge the last look with the runs since then")
    plan = earlier[0] if earlier else None if planned is None else Plan(planned, spec.verdict_error)
    if plan is None:
        return None, spec
    if planned not in (None, plan.seeds):
        raise SpecError(f"planned_seeds: {planned} differs from the {plan.seeds} planned at the first look")
    plan, share = plan.next(len(spec.seed_numbers), spec.error, spec.families)
    return plan, replace(spec, verdict_error=share)


def _numbers(part: Members, whole: Members) -> list[int]:
    """The number that each member of a part has in the whole."""
    places = {who: number for number, who in enumerate(_names(whole))}
    return [places[who] for who in _names(part)]


def _names(who: Members) -> list[tuple[str, int, float]]:
    return list(zip(who.arm.tolist(), who.seed.tolist(), who.sparsity.tolist(), strict=True))


def _joined(name: str, folders: list[RunFolder], parts: list[Job], whole: Job) -> pl.DataFrame:
    """A table of all runs in the order that one run has, its members numbered as there."""
    renumbered = []
    for folder, part in zip(folders, parts, strict=True):
        # Curves are of the trained members, which are fewer where pruning comes after training.
        of = (part.trained, whole.trained) if name == "curves" else (part.everyone, whole.everyone)
        new = dict(enumerate(_numbers(*of)))
        renumbered.append(folder.table(name).with_columns(pl.col("member").replace_strict(new)))
    table = pl.concat(renumbered)
    if name != "certificates":
        return table.sort("member", maintain_order=True)
    budgets = [budget.largest for budget in whole.spec.budgets]
    place = pl.col("eps").replace_strict({eps: place for place, eps in enumerate(budgets)})
    return table.sort(place, "member", maintain_order=True)


def _shifted(folders: list[RunFolder], parts: list[Job], whole: Job) -> ShiftEvaluation:
    shifts = _joined("shifts", folders, parts, whole)
    summary = summarise_shifts(shifts)
    return ShiftEvaluation(shifts, summary, shift_verdicts(summary, whole.spec.error))


def _returned(
    folders: list[RunFolder], into: RunFolder, population: Population, parts: list[Job], whole: Job
) -> AttackedReturns:
    """The limits of all members together, which are lower than those of fewer."""

    def missing() -> kept.Arrays:
        raise SpecError("runs: what the episodes behind certified returns have spent is missing in one")

    order = np.argsort(np.concatenate([_numbers(part.everyone, whole.everyone) for part in parts]))

    def joined(scale: float) -> Spent:
        each = [Spent.read(kept.load_or_make(folder.spent(scale), missing)) for folder in folders]
        return Spent.read(kept.load_or_make(into.spent(scale), joined_spent(each, order)._asdict))

    made = {scale: joined(scale) for scale in whole.returned.played}
    return attacked_returns(whole.returned, population, made, CONFIDENCE)


def _population(parts: list[Population], whole: Job) -> Population:
    """The members of all runs, in the order of the whole."""
    order = np.argsort(np.concatenate([_numbers(part.members, whole.everyone) for part in parts]))
    agents = jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[order], *(part.agents for part in parts))
    diverged = np.concatenate([part.diverged for part in parts])[order]
    return Population(whole.everyone, whole.env, agents, diverged, parts[0].budget, whole.spec)
