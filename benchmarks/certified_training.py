"""Training for a certified return: which arm raises it, and what pruning does to it in each.

    python -m benchmarks.certified_training --tasks hopper --arms ppo --seeds 0:2

trains so many seeds of each arm, dense and gradually pruned, certifies their returns under attack at every
step (docs/certified_return.md) over a grid of radii, and keeps the limits in
`benchmarks/results/certified_training/`, a small table for each task, arm and shard of seeds. Every call adds
shards, on any machine; what is there is not done again, a training that was stopped goes on where it was, and
the report is made of all that are there. What `benchmarks.train_here` has trained on an accelerator is taken
from `--out`. With `--attack-eps` attackers of the same policies, which draw their actions, are searched for
as well, and the strongest found for each stands beside its limit.

Two seeds of Hopper are a piece of 20 (ppo) to 45 minutes (sa-convex) on two idle cores, a quarter of an hour
of it for the limits, as estimated from the throughput of other benchmarks; of HalfCheetah take one seed.
"""

from dataclasses import dataclass
from pathlib import Path

import polars as pl
import tyro

import jaxprune as jp
from benchmarks import certified_returns
from benchmarks.certified_returns import KINDS, LARGEST, OWN, differences, experiment, interval
from benchmarks.machine import machine_line
from experiments.command import in_one_line
from jaxprune import device, parse
from jaxprune.envs import published_eps
from jaxprune.run_folder import RunFolder
from jaxprune.training.arms import read_arm

RESULTS = Path(__file__).parent / "results"
SHARDS, REPORT = RESULTS / "certified_training", RESULTS / "certified_training.md"
ATTACKED = SHARDS / "attacked"

SHOWN = (0.0075, 0.02)
"""The radii at which limits are printed; all are searched for the largest."""


@dataclass(frozen=True)
class Arguments:
    """Which shards to do, and how hard they are looked at."""

    tasks: str = "hopper,halfcheetah"
    """Tasks, a comma list."""
    arms: str = "ppo,sa-convex:detach_std=1,d2"
    """Training arms, a comma list."""
    seeds: str = "0:6"
    """The seeds of this shard, first:stop without the stop."""
    planned: int = 6
    """Seeds of the whole experiment, over all of which limits hold together: those of a shard get its share
    of the error."""
    sparsities: str = "0,0.7,0.9"
    """Sparsities."""
    steps: int = 1_000_000
    """Environment steps of training per member."""
    episodes: int = 200
    """Clean episodes per member and spread, half of which choose."""
    eps: str = "0.0005,0.001,0.002,0.004,0.0075,0.012,0.02,0.03"
    """Radii of the l_inf ball, normalised."""
    std: str = "1,1.5,2"
    """Times the policy's own standard deviation, to choose from."""
    attack_eps: str = ""
    """Radii at which attackers are searched for, a comma list."""
    attack_steps: int = 200_000
    """Environment steps of training per adversary that is trained to the end."""
    out: Path = Path("runs/certified_training")
    """Where the runs are kept."""


def main(arguments: Arguments) -> None:
    """Do the shards that are not there yet; the report is written after each."""
    device.keep_compiled()
    ATTACKED.mkdir(parents=True, exist_ok=True)
    for task in arguments.tasks.split(","):
        for arm in arguments.arms.split(","):
            read_arm(arm, published_eps(task))
            name = f"{task}-{arm}-{arguments.seeds}".replace(":", "_").replace("/", "-")
            if not (file := SHARDS / f"{name}.csv").is_file():
                shard(arguments, task, arm).write_csv(file, float_precision=6)
            REPORT.write_text(report())
            for eps in parse.numbers("attack_eps", arguments.attack_eps) if arguments.attack_eps else ():
                if not (file := ATTACKED / f"{name}-{eps:g}.csv").is_file():
                    attacked(arguments, task, arm, eps).write_csv(file, float_precision=6)
                REPORT.write_text(report())


def attacked(arguments: Arguments, task: str, arm: str, eps: float) -> pl.DataFrame:
    """A row per member: what the strongest attacker found for it leaves on fresh episodes."""
    folder = certified_returns.trained(_asked(arguments, task, arm))
    found = certified_returns.strongest(
        certified_returns.search(eps, arguments.attack_steps, rungs=5),
        jp.Population.load(folder),
        folder / f"attackers-{eps:g}",
    )
    return found.with_columns(task=pl.lit(task), arm=pl.lit(arm))


def _asked(arguments: Arguments, task: str, arm: str) -> certified_returns.Arguments:
    """What the other benchmark is asked for."""
    share = len(parse.seeds("seeds", arguments.seeds)) / arguments.planned
    return certified_returns.Arguments(
        env=task,
        arm=arm,
        seeds=arguments.seeds,
        sparsities=arguments.sparsities,
        steps=arguments.steps,
        episodes=arguments.episodes,
        eps=arguments.eps,
        std=arguments.std,
        confidence=1 - 0.05 * share,
        out=arguments.out / arguments.seeds.replace(":", "-"),
    )


def shard(arguments: Arguments, task: str, arm: str) -> pl.DataFrame:
    """A row per member and radius."""
    asked = _asked(arguments, task, arm)
    limits = certified_returns.limits(asked)
    origin = RunFolder.open(certified_returns.trained(asked)).origin()
    return limits.with_columns(
        task=pl.lit(task), steps=pl.lit(arguments.steps), trained_on=pl.lit(origin["device"]["kind"])
    )


def report() -> str:
    """All shards, as Markdown."""
    everything = pl.concat([pl.read_csv(file) for file in sorted(SHARDS.glob("*.csv"))], how="diagonal")
    if searches := sorted(ATTACKED.glob("*.csv")):
        on = ["task", "arm", "seed", "sparsity_asked", "eps"]
        everything = certified_returns.with_strongest(everything, searches, on)
    # What learned on another device, under another physics, is no fair match.
    groups = everything.group_by("task", "trained_on", maintain_order=True)
    tasks = [_task(str(name), rows) for (name, _), rows in groups]
    return f"""# Training for a certified return

{machine_line("python -m benchmarks.certified_training")}

Policies that draw their actions, l_inf balls in the normalised space, gradual magnitude pruning. Means \
over seeds with 95 % intervals (Student's t) of the lower limit on E[max(R, lowest)], of that by blocks of \
steps, and of what is left ("of R": of the return itself, which is smaller where returns are below the \
lowest) to the same policy under MAD and, where attackers were searched for, under the strongest found for \
each member on other episodes (random, critic, MAD, robust sarsa alone and with MAD, \
SA-RL and PA-AD by successive halving), estimates from above. Of several spreads one was chosen for each \
member and radius, on other episodes; shares are of the clean mean with the policy's own spread. The \
largest eps is searched from the smallest on. The limits of a task and arm hold together at 95 %, and so \
do its largest eps. Differences over the same seeds: Student's t intervals that hold together over their \
table (Bonferroni; without width where all seeds end at the same radius of the list) and, in brackets, the \
exact sign-flip test's p, family-wise over it too; the last column is the placebo, different seeds of the \
same kind.

{chr(10).join(tasks)}"""


def _task(task: str, rows: pl.DataFrame) -> str:
    """All arms of a task that were trained on one device, each by itself and against plain PPO."""
    arms = rows["arm"].unique(maintain_order=True).to_list()
    arms.sort(key=lambda arm: not _is_plain(arm))
    parts = [
        experiment(f"{task}, {arm}", own, list(SHOWN)) + "\n" + _training(own)
        for arm in arms
        if (own := rows.filter(arm=arm)).height
    ]
    if len(arms) > 1 and _is_plain(arms[0]):
        parts.append(_against_plain(task, rows, arms))
    return "\n".join(parts)


def _is_plain(arm: str) -> bool:
    """Whether it is PPO by itself: without a regulariser, or with the others' program and weight 0."""
    return all(
        numbers.get("weight", 1.0) == 0 for numbers in read_arm(arm, published_eps=1.0).leaves.values()
    )


def _training(rows: pl.DataFrame) -> str:
    """How long and where, and the standard deviations that are left: a wide policy is easier to certify."""
    spread = [
        f"{interval(of['spread'])} at {sparsity:g}"
        for (sparsity,), of in rows.filter(eps=SHOWN[0]).group_by("sparsity_asked", maintain_order=True)
    ]
    steps, device = rows["steps"][0], " and ".join(rows["trained_on"].unique(maintain_order=True))
    return (
        f"Trained for {steps:,} steps on: {device}. Standard deviation of an action, mean: "
        f"{', '.join(spread)}.\n"
    )


def _against_plain(task: str, rows: pl.DataFrame, arms: list[str]) -> str:
    """Every arm minus the first, plain PPO, at the same sparsity, of the seeds that all arms have."""
    plain = arms[0]

    def of_all(column: str) -> list:
        return sorted(set.intersection(*(set(rows.filter(arm=arm)[column]) for arm in arms)))

    seeds, sparsities = of_all("seed"), of_all("sparsity_asked")
    common = rows.filter(pl.col("seed").is_in(seeds)).sort("seed")

    def by_arm(sparsity: float, eps: float, column: str) -> dict:
        here = common.filter(sparsity_asked=sparsity, eps=eps)
        scale = 1000 if column in LARGEST else 1
        return {arm: scale * here.filter(arm=arm)[column].to_numpy() for arm in arms}

    columns = {(eps, f"eps {eps:g}, {about}"): kind for eps in SHOWN for kind, about in KINDS.items()}
    columns |= {(SHOWN[0], about): column for column, about in ({OWN: "clean"} | LARGEST).items()}
    kinds = {
        f"{sparsity:g}, {about}": by_arm(sparsity, eps, column)
        for sparsity in sparsities
        for (eps, about), column in columns.items()
    }
    return "\n".join(
        [
            f"## {task}, arms against {plain}, {len(seeds)} seeds",
            "",
            *_lengths(common),
            *differences("sparsity; minus plain PPO (adjusted p)", kinds, plain),
            "",
        ]
    )


def _lengths(rows: pl.DataFrame) -> list[str]:
    """Over how many episodes each arm was certified, if not over as many: more of them certify more."""
    counts = dict(rows.select("arm", "episodes").unique(maintain_order=True).iter_rows())
    if len(set(counts.values())) == 1:
        return []
    told = ", ".join(f"{arm} {count}" for arm, count in counts.items())
    return [f"Certified over unlike numbers of episodes, of which more certify more: {told}.", ""]


if __name__ == "__main__":
    with in_one_line():
        main(tyro.cli(Arguments))
