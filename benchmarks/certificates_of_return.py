"""Certificates on the return at matched threat models: the filter, the KL gap, value gaps, Policy Smoothing.

    python -m benchmarks.certificates_of_return --env hopper --agents A.npz B.npz
    python -m benchmarks.certificates_of_return --env hopper --runs runs/schedules/hopper-dense ...

An adversary in an l_inf ball of radius eps at each of T steps of n features has a total l2 budget of at most
B = eps sqrt(n T). Policy Smoothing (Kumar, Levine and Feizi, ICLR 2022) certifies against every adversary of
such a budget, so what it certifies at B holds under the attack at every step as well; it asks more, since its
adversary may also spend all of B in few steps. The numbers of every source (each agent, all runs together)
are kept in `benchmarks/results/certificates_of_return/`, and the report is made of all that are there.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import tyro

import jaxprune as jp
from benchmarks.certified_returns import row, show
from benchmarks.machine import machine_line
from benchmarks.victims import of_runs, some_of
from experiments.command import in_one_line
from jaxprune import certification, device, parse, streams
from jaxprune.attacks import Victim
from jaxprune.bounds import certified_mean_return, filter_mean
from jaxprune.budget import Ball
from jaxprune.certification import CertificationSpec, ReturnSpec, SmoothingSpec, returns_under_attack
from jaxprune.certification.smoothing import Noise, episode_budget, lowest_return
from jaxprune.evaluation import Condition, for_all, play
from jaxprune.report.numbers import number

RESULTS = Path(__file__).parent / "results"
TABLES, REPORT = RESULTS / "certificates_of_return", RESULTS / "certificates_of_return.md"

ERROR = 0.05
"""Of all limits of one kind of a source together."""

FILTERED = {
    "filter": ("mean_max_lowest", "certified_mean"),
    "filter, by blocks": ("mean_blocks", "certified_blocks"),
    "KL gap": ("mean_max_lowest", "certified_kl"),
}
"""What the episodes of the policy that draws its actions certify: clean, and the limit."""


@dataclass(frozen=True)
class Arguments:
    """Whose returns are certified, and against whom."""

    env: str = "hopper"
    """Task."""
    agents: tuple[Path, ...] = ()
    """Files of agents that draw their actions, pruned post hoc at the sparsities."""
    runs: tuple[Path, ...] = ()
    """Finished runs, whose members are looked at together."""
    seeds: str = ""
    """Of the members of the runs, first:stop; all, if empty."""
    sparsities: str = "0,0.5,0.9"
    """Of the agents, or of those members."""
    eps: str = "0.001,0.0025,0.0075"
    """Radii of the l_inf ball at every step, normalised."""
    sigmas: str = "0.1,0.2,0.4"
    """Standard deviations of the smoothing noise; the best may be named, all share the error."""
    episodes: int = 1000
    """Episodes per member: of the policy that draws, half of which choose, and of the smoothed one."""


def main(arguments: Arguments) -> None:
    """Certify what is not there yet, and write the report of all."""
    device.keep_compiled()
    TABLES.mkdir(exist_ok=True)
    sparsities = parse.numbers("sparsities", arguments.sparsities)
    sources: dict[str, Callable[[], jp.Population]] = {
        file.stem: partial(jp.Population.from_agent, file, arguments.env, sparsities=sparsities)
        for file in arguments.agents
    }
    if arguments.runs:
        some = [f"seeds_{arguments.seeds.replace(':', '_')}"] if arguments.seeds else []
        name = "-".join(["+".join(run.name for run in arguments.runs), *some])
        sources[name] = lambda: some_of(
            of_runs([jp.Population.load(run) for run in arguments.runs]),
            arguments.sparsities,
            arguments.seeds,
        )
    for name, load in sources.items():
        file = TABLES / f"{name}.csv"
        if not file.is_file():
            certified(arguments, load()).write_csv(file, float_precision=6)
        REPORT.write_text(report())


def certified(arguments: Arguments, population: jp.Population) -> pl.DataFrame:
    """A row per member, radius and certificate; no limit where it says nothing."""
    radii = parse.numbers("eps", arguments.eps)
    rows = [*_filtered(arguments, population), *_smoothed(arguments, population, radii)]
    for eps in radii:
        rows += _value_gaps(population, eps)
    return (
        pl.DataFrame(rows)
        .join(pl.DataFrame(population.members.columns()), on="member")
        .with_columns(
            total_l2=pl.col("eps") * episode_budget(1.0, "linf", population.env),
            lowest=pl.lit(lowest_return(population.env)),
            episodes=pl.lit(arguments.episodes),
        )
    )


def _filtered(arguments: Arguments, population: jp.Population) -> Iterator[dict]:
    spec = ReturnSpec(return_episodes=arguments.episodes, return_eps=arguments.eps)
    means = returns_under_attack(spec, population, CertificationSpec(confidence=1 - ERROR), show).means
    for found in means.iter_rows(named=True):
        for name, (clean, limit) in FILTERED.items():
            place = {"member": found["member"], "eps": found["eps"], "certificate": name}
            yield place | {"clean": found[clean], "limit": found[limit]}


def _value_gaps(population: jp.Population, eps: float) -> Iterator[dict]:
    """Of the policy that draws its actions; total variation adds up over the steps."""
    spec = CertificationSpec(eps=eps, bounds="crown", states=10, starts=1, search_steps=1)
    found = certification.run(spec, SmoothingSpec(), population, show)
    gaps = found.certificates.filter(bound="horizon_gap").join(found.returns, on="member")
    for gap in gaps.iter_rows(named=True):
        left = None if gap["vacuous"] else gap["return_mean"] - gap["value"]
        place = {"member": gap["member"], "eps": eps, "certificate": "value gap"}
        yield place | {"clean": gap["return_mean"], "limit": left}


def _smoothed(arguments: Arguments, population: jp.Population, radii: tuple[float, ...]) -> Iterator[dict]:
    """Of the deterministic policy under Gaussian noise, with the band as published and with the exact one."""
    env, everyone, sigmas = population.env, population.members, parse.numbers("sigmas", arguments.sigmas)
    victims, lowest = Victim(population.agents.pruned(), population.budget.space), lowest_return(env)
    keys = jax.vmap(partial(streams.key, domain="attacked returns"))(jnp.asarray(everyone.seed))
    each = 1 - ERROR / (everyone.size * len(radii) * len(sigmas))
    for sigma in sigmas:
        noisy = Condition(Noise(sigma), Ball(jnp.full(1, jnp.inf), "l2"))
        tally, _ = play(env, victims, (for_all(noisy, everyone.size),), keys, arguments.episodes)
        for member, returns in enumerate(np.maximum(np.asarray(tally.total[:, 0], float), lowest)):
            if population.diverged[member]:
                continue
            for eps in radii:
                budget, place = episode_budget(eps, "linf", env), {"member": member, "eps": eps}
                kind = {"lowest": lowest, "confidence": each}
                band = certified_mean_return(returns, budget=budget, sigma=sigma, **kind)
                exact = filter_mean(returns, np.zeros_like(returns), budget=budget / sigma, **kind)
                for about, limit in {"as published": band, "exact band": exact}.items():
                    name = f"Policy Smoothing, sigma {sigma:g}, {about}"
                    yield place | {"certificate": name, "clean": returns.mean(), "limit": limit}


def report() -> str:
    """All sources, as Markdown."""
    tables = {file.stem: pl.read_csv(file) for file in sorted(TABLES.glob("*.csv"))}
    return f"""# Certificates on the return at matched threat models

{machine_line("python -m benchmarks.certificates_of_return")}

Lower limits on E[max(R, lowest)] under an l_inf attack of radius eps at every step, normalised, of the \
clean mean of the same policy; means over seeds. The filter, the KL gap and the value gap are about the \
policy that draws its actions with its own standard deviation. Policy Smoothing is about the deterministic \
policy that acts on noisy observations, certified against a total l2 budget B = eps sqrt(n T) over the \
episode, which every such attack keeps. Where returns have no bound the value gap uses the range observed. \
"vacuous": no less than all that there is to lose. The limits of a source by the filter and the KL gap hold \
together at 95 %, and so do those of its smoothed policies.

{chr(10).join(_source(name, table) for name, table in tables.items())}"""


def _source(name: str, table: pl.DataFrame) -> str:
    """One agent or some runs: certificates against radii, for every sparsity."""
    radii = table.select("eps", "total_l2").unique().sort("eps").rows()
    lines = [
        row("sparsity, certificate", [f"eps {eps:g}, B {total:.3g}" for eps, total in radii]),
        "|---" * (1 + len(radii)) + "|",
    ]
    groups = table.sort("sparsity_asked", maintain_order=True).group_by(
        "sparsity_asked", "certificate", maintain_order=True
    )
    for (sparsity, certificate), rows in groups:
        cells = [_cell(rows.filter(eps=eps)) for eps, _ in radii]
        lines.append(row(f"{sparsity:g}, {certificate}", cells))
    first = table.row(0, named=True)
    return "\n".join(
        [
            f"## {name}, {table['seed'].n_unique()} seeds",
            "",
            f"{first['episodes']} episodes per member; lowest {first['lowest']:g}.",
            "",
            *lines,
            "",
        ]
    )


def _cell(rows: pl.DataFrame) -> str:
    """Means over the seeds that have a limit."""
    if rows["clean"].null_count() == rows.height:
        return "diverged"
    if rows["limit"].null_count() == rows.height:
        return f"vacuous, of {number(rows.select(pl.mean('clean')).item())}"
    return " of ".join(number(mean) for mean in rows.select(pl.mean("limit", "clean")).row(0))


if __name__ == "__main__":
    with in_one_line():
        main(tyro.cli(Arguments))
