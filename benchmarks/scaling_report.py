"""The report of `benchmarks.scaling`: measured beside predicted, and accelerators on paper."""

from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.scaling_fit import predicted, temporary
from benchmarks.scaling_rows import PARTS, SHORT, asked_of
from jaxprune import SweepSpec

RESULTS = Path(__file__).parent / "results"

HEADS = {
    "training": "task | members | environments | steps | epochs x minibatches | hidden",
    "evaluation": "task | members | attack | hidden",
    "certificates": "task | members | states of each | hidden",
    "returned": "task | members | states of each | hidden",
}

MEMBERS_PER_ACCELERATOR = 256
"""Of the row of accelerator.csv that is extended."""


def report(table: pl.DataFrame) -> str:
    """Measured beside predicted, and what that says of more machines."""
    machines = "\n".join(table["machine"].unique(maintain_order=True))
    parts = "\n\n".join(_times(part, table.filter(part=part)) for part in PARTS)
    return f"""# Time and memory against members, environments and width

{machines}

Processor seconds of one call (one iteration of training; {SHORT}-step episodes; all bounds at all states), \
medians of a few; predicted by the coefficients of `jaxprune/coefficients.py`, from the cost of the physics \
and of a piece of network (`speeds`) measured beside each row. Seconds by the clock are in the table \
`scaling.csv`, and say little where the machine had other work ({_idle(table)}).

{parts}

## Memory

Of the training program, MiB: what its compiled form says it needs beside what is carried \
(`memory_analysis`, temporary), what the formula in `costs.remembering` says of that, what is carried, and \
by how much the process grew at most when it ran. Memory is linear in the members: a chunk of N needs N \
times a member's share.

| task | members | environments x steps | hidden | temporary, compiled | formula | carried | process grew |
|---|---|---|---|---|---|---|---|
{chr(10).join(_memory(row) for row in table.filter(part="training").iter_rows(named=True))}

{_on_paper()}
"""


def _idle(table: pl.DataFrame) -> str:
    busy = float((table["processor_s"] / table["seconds"]).median())
    return f"in the median row {busy:.1f} cores were at work for it"


def _times(part: str, rows: pl.DataFrame) -> str:
    lines = []
    for row in rows.iter_rows(named=True):
        asked, said = asked_of(row), predicted(row)
        cells = {
            "task": asked.task,
            "members": asked.members,
            "environments": asked.environments,
            "steps": asked.unroll,
            "epochs x minibatches": f"{asked.epochs} x {asked.minibatches}",
            "hidden": asked.hidden,
            "attack": asked.attack,
            "states of each": asked.states,
        }
        shown = [str(cells[name]) for name in HEADS[part].split(" | ")]
        speed = f"{row['steps'] / row['processor_s'] / 1e3:.1f}" if row["steps"] else "-"
        shown += [f"{row['processor_s']:.3g}", f"{said:.3g}", f"{said / row['processor_s']:.2f}", speed]
        making = row["compile_processor_s"]
        shown.append("not measured" if making is None else f"{making:.0f}")
        lines.append(f"| {' | '.join(shown)} |")
    head = f"{HEADS[part]} | measured, s | predicted, s | ratio | thousand steps/s of a core | compiling, s"
    rule = "|".join(["---"] * (head.count("|") + 1))
    return "\n".join([f"## {part.capitalize()}", "", f"| {head} |", f"|{rule}|", *lines])


def _memory(row: dict[str, Any]) -> str:
    grew = "not measured" if row["peak_mib"] is None else f"{row['peak_mib']:.0f}"
    asked = asked_of(row)
    return (
        f"| {asked.task} | {asked.members} | {asked.environments} x {asked.unroll} | {asked.hidden} "
        f"| {row['temporary_mib']:.1f} | {temporary(row):.1f} | {row['carried_mib']:.1f} | {grew} |"
    )


def _on_paper() -> str:
    """One accelerator, extended to 8 and 256."""
    rows = pl.read_csv(RESULTS / "accelerator.csv").filter(task="hopper", arms="ppo").sort("members")
    few, many = rows.filter(members=16).row(-1, named=True), rows.filter(members=256).row(-1, named=True)
    spec = SweepSpec()
    steps = spec.steps / spec.environments

    def minutes(row: dict[str, Any]) -> float:
        """Of training, were every member of the row one of the default sweep."""
        return steps * row["members"] * spec.environments / row["steps_per_s"] / 60

    def milliseconds(row: dict[str, Any]) -> str:
        """Of one step of the whole batch, learning included."""
        return f"{1000 * row['members'] * spec.environments / row['steps_per_s']:.0f}"

    full, thin = minutes(many), minutes(few)
    compiling = (many["start_s"] + many["compile_s"]) / 60
    lines = []
    for count in (1, 8, 256):
        members = MEMBERS_PER_ACCELERATOR * count
        lines.append(
            f"| {count} | {members:,} | {full + compiling:.0f} | {members / (full + compiling):,.0f} |"
        )
    least = thin + compiling
    return f"""## On paper: 8 and 256 accelerators

Not measured. One {many["device"]} trained {many["members"]} Hopper members at \
{many["steps_per_s"] / 1e3:.0f} and {few["members"]} at {few["steps_per_s"] / 1e3:.0f} thousand steps/s \
(`accelerator.md`). Assumed: one process per accelerator, which trains seeds of its own (`--distributed`); \
members never communicate, so nothing is sent while they train; the same program on every device; compiling, \
{compiling:.1f} min, is done by all at the same time; the slowest is as fast as the others.

| accelerators | members | minutes of training (weak scaling) | members per minute |
|---|---|---|---|
{chr(10).join(lines)}

What limits is not the network between them but how few members each has: a step of the batch takes \
{milliseconds(few)} ms with {few["members"]} members and {milliseconds(many)} ms with {many["members"]}. \
The same {8 * MEMBERS_PER_ACCELERATOR:,} \
members on 256 accelerators, 8 on each, still take {least:.0f} min in place of the \
{full + compiling:.0f} min on 8: {(full + compiling) / least:.1f} times as fast for 32 times the devices. \
After training, each process evaluates and certifies its own members, one member after the other, and \
process 0 reads all tables to merge them: of {256 * MEMBERS_PER_ACCELERATOR:,} members this is the longest \
serial part, and has not been tried.
"""
