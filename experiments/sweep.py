"""Train, prune, attack and certify a population: `python -m experiments.sweep --sparsities 0:0.9:0.1`."""

import re
import shlex
import sys
from argparse import ArgumentParser
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated

import tyro

from experiments.by_arm import draw, draw_returned, draw_shifts
from experiments.command import refuse_changes, run_command, telling
from experiments.hosts import Hosts, check_resumable, shards, wait
from experiments.report import write_page
from jaxprune import SpecError, Sweep, SweepSpec, chunks, device, sweep
from jaxprune.interrupt import exit_code
from jaxprune.merging import finished, merge
from jaxprune.options import known
from jaxprune.plan import describe, estimate, fitted
from jaxprune.population import members
from jaxprune.presets import PRESETS, preset
from jaxprune.progress import both
from jaxprune.report import (
    LiveProgress,
    Words,
    attacked_returns_words,
    joined,
    open_console,
    plan,
    screen_words,
    shift_screen_words,
)
from jaxprune.report.log import LOGS, Log
from jaxprune.report.page import NAME
from jaxprune.run_folder import RunFolder


@dataclass(frozen=True)
class Arguments:
    """Train a population of policies (seeds x sparsities), prune, attack and certify them, in one program."""

    spec: tyro.conf.OmitArgPrefixes[SweepSpec]
    preset: Annotated[str, known(lambda: PRESETS)] = "quick"
    """Settings to start from; whatever else is given changes them."""
    out: Path | None = None
    """New folder for spec, tables, figures, checkpoints and population. Default: runs/<env>-<time>."""
    resume: Path | None = None
    """Go on with the interrupted run in this folder; needs no other flag, and refuses those that differ."""
    dry_run: bool = False
    """Print the plan with the estimated time and memory, and stop."""
    chunk: int | None = None
    """How many members are trained and evaluated side by side at most, which changes no result. Default: as
    many as the memory holds."""
    log: Annotated[str | None, known(lambda: LOGS)] = None
    """Also write curves, returns and certificates for a viewer of experiments, into the folder of the run;
    needs pip install 'jaxprune[log]'."""
    device: str = "auto"
    """Where to compute: auto, cpu, gpu or tpu."""
    hosts: tyro.conf.OmitArgPrefixes[Hosts] = Hosts()  # noqa: RUF009  it is frozen


def from_preset() -> Arguments:
    """The options of the preset that the command line names. Raises SpecError for an unknown one."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    # Without a name it is tyro that says so.
    parser.add_argument("--preset", nargs="?", default="quick", const="quick")
    name = parser.parse_known_args()[0].preset
    return Arguments(preset(name), name)


def main(arguments: Arguments) -> None:
    """Print the plan, run it with live progress, print the result and where the files are."""
    if arguments.resume is None:
        chunks.check(arguments.chunk, members(arguments.spec).size)
    if arguments.hosts.several and not arguments.dry_run:
        _with_others(arguments)
        return
    if arguments.hosts.several:
        arguments.hosts.check(arguments.spec)
    _alone(arguments)


def _with_others(arguments: Arguments) -> None:
    """Do this process's share; process 0 then waits for all shares and merges them."""
    folder = arguments.resume or arguments.out
    if folder is None:
        raise SpecError("out: processes that share a sweep need one folder; give all of them the same --out")
    # Before any array is made: it decides which devices this process sees.
    share = arguments.hosts.meet(arguments.spec, {**arguments.spec.to_dict(), "out": str(folder)})
    runs = shards(folder, share)
    mine = runs[share.process]
    if arguments.resume is None:
        _alone(replace(arguments, spec=share.of(arguments.spec), out=mine))
    else:
        check_resumable(folder, share)
        if not finished(mine):
            _alone(replace(arguments, resume=mine))
    if share.process > 0:
        return
    merged, console = folder / "merged", open_console()
    try:
        wait(runs, console)
    except KeyboardInterrupt as stopped:
        later = f"python -m experiments.merge {shlex.join(map(str, runs))} --out {shlex.quote(str(merged))}"
        console.print(f"\nstopped waiting; when all are finished: {later}", soft_wrap=True)
        sys.exit(exit_code(stopped))
    report_sweep(merge(runs, merged), merged)


def _alone(arguments: Arguments) -> None:
    device.select(arguments.device)
    device.keep_compiled()
    console = open_console()
    spec = arguments.spec if arguments.resume is None else _interrupted(arguments.spec, arguments.resume)
    job = fitted(sweep.job(spec).in_chunks(arguments.chunk), device.memory())
    out = arguments.resume or arguments.out or _default_folder(spec)
    log = None if arguments.log is None else Log(arguments.log, out, spec.to_dict())
    expected = estimate(job, None if arguments.dry_run else device.memory())
    console.print(plan(describe(job, expected)))
    if arguments.dry_run:
        return
    try:
        with LiveProgress(console, job.steps) as live, log or nullcontext():
            heard = live.show if log is None else both(live.show, log.show)
            if arguments.resume:
                made = sweep.resume(out, heard, job.chunk)
            else:
                made = sweep.run(spec, out, heard, job.chunk)
            if log is not None:
                log.found(made.curves, made.results, made.certificates)
    except KeyboardInterrupt as stopped:
        resume = f"python -m experiments.sweep --resume {shlex.quote(str(out))}"
        console.print(f"\nstopped; go on with: {resume}", soft_wrap=True)
        sys.exit(exit_code(stopped))
    report_sweep(made, out)


def _interrupted(given: SweepSpec, path: Path) -> SweepSpec:
    """The spec of the run to go on with. Raises SpecError where the command line asks for another."""
    folder = RunFolder.open(path)
    folder.continuable()
    spec = folder.spec()
    refuse_changes(given, spec, path)
    if finished(path) and (path / NAME).is_file():  # the page comes last
        raise SpecError(f"resume: {path} is finished; its tables are there")
    return spec


def _default_folder(spec: SweepSpec) -> Path:
    return Path("runs") / f"{re.sub('[/:]', '-', spec.env)}-{datetime.now():%Y%m%d-%H%M%S}"


def report_sweep(made: Sweep, out: Path) -> None:
    """Print what came out, and draw it into the run's folder."""
    with telling(out):
        console, alpha = open_console(), made.spec.error
        draw(out, made.results, made.certificates, made.regret, made.curves)
        words = [screen_words(made.results, made.regret, made.certificates, made.verdicts, alpha=alpha)]
        if made.shifted is not None:
            draw_shifts(out, made.shifted)
            words.append(Words(lines=shift_screen_words(*made.shifted, alpha=alpha).lines))
        if made.returned is not None:
            env = made.population.env
            draw_returned(out, made.returned.means, f"{env.task} on {env.physics}")
            words.append(Words(lines=attacked_returns_words(made.returned.means).lines))
        joined(words).print(console)
        console.print(f"tables, population and figures are in {out}", soft_wrap=True)
        write_page(console, out)


if __name__ == "__main__":
    run_command(Arguments, main, from_preset)
