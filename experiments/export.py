"""Take a policy away: `python -m experiments.export --run FOLDER --member I --out DIR`, or `--agent FILE`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import jax.numpy as jnp
import polars as pl
import tyro

from experiments.command import run_command
from jaxprune import Population, SpecError, device, envs
from jaxprune.export import NAMES, Known, export
from jaxprune.options import known
from jaxprune.policy import ACTIVATIONS, compact
from jaxprune.policy.files import PolicyFile, describe, fit, read_policy, readable
from jaxprune.population import prune
from jaxprune.report import open_console
from jaxprune.run_folder import RunFolder
from jaxprune.spec import check_sparsity


@dataclass(frozen=True)
class Arguments:
    """Write one policy as safetensors and JSON, as ONNX and as a function of NumPy, with a card of it."""

    out: Path
    """New folder for the files."""
    run: Path | None = None
    """Folder of a sweep, whose member is taken."""
    member: int | None = None
    """Number of that member in the tables of the run."""
    agent: Annotated[Path | None, tyro.conf.arg(help=f"File of one agent: {readable()}.")] = None
    normalizer: Path | None = None
    """VecNormalize of Stable-Baselines3, a pickle, with the observation filter of the agent."""
    activation: Annotated[str | None, known(lambda: ACTIVATIONS)] = None
    """What stands between the layers of an agent whose file does not say."""
    env: str | None = None
    """Task of the agent; left out, it is not said, and not checked."""
    sparsity: float | None = None
    """Sparsity to which an agent from a file is pruned, by magnitude within each layer. Default: as it is."""
    compact: bool = False
    """Without the hidden units that pruning has cut off: a smaller network that computes the same, up to
    rounding. Whole units go with --scope unit."""
    onnx: bool = True
    """Also as ONNX, by the package onnx (pip install 'jaxprune[export]')."""


def main(arguments: Arguments) -> None:
    """Read, write, and say where the files are."""
    device.select("cpu")
    policy, told = _of_file(arguments) if arguments.run is None else _of_run(arguments, arguments.run)
    console = open_console()
    if arguments.compact:
        before, policy = policy, policy._replace(agent=compact(policy.agent))
        units = f"compact: {_units(policy)} of {_units(before)} hidden units"
        # It rounds otherwise than the network that a run has bounded.
        source = f"{told.facts['source']}; {units}, what is known of it was found with all of them"
        told = replace(told, facts={**told.facts, "source": source})
        console.print(units)
    export(policy, arguments.out, told, onnx=arguments.onnx)
    written = ", ".join(name for name in NAMES.values() if (arguments.out / name).is_file())
    console.print(f"{written} are in {arguments.out}", soft_wrap=True)


def _units(policy: PolicyFile) -> str:
    """The widths of the hidden layers."""
    return "-".join(map(str, describe(policy)["hidden"]))


def _of_run(arguments: Arguments, run: Path) -> tuple[PolicyFile, Known]:
    """A member of a run, and the rows about it. Raises SpecError for options that a run does not take."""
    for name in ("agent", "normalizer", "activation", "env", "sparsity"):
        if getattr(arguments, name) is not None:
            raise SpecError(f"{name}: not for a member of a run, which has its own; leave it out")
    if arguments.member is None:
        raise SpecError("member: a run has many; say which, by its number in the tables")
    population, folder = Population.load(run), RunFolder(run)
    policy, member, spec = population.policy(arguments.member), arguments.member, folder.spec()
    facts: dict[str, Any] = {
        "task": population.env.task,
        "physics": population.env.physics,
        **population.members.columns()[member],
        "eps": [budget.eps for budget in spec.budgets],
        "norm": spec.norm,
        "space": spec.space,
        "source": f"member {member} of {run.resolve()}",
    }
    results, certificates = (folder.table(name) for name in ("results", "certificates"))
    tables = (results, certificates, _certified(folder))
    about_it = (None if table is None else table.filter(pl.col("member") == member) for table in tables)
    return policy, Known(facts, *about_it)


def _certified(folder: RunFolder) -> pl.DataFrame | None:
    """The certified returns of a run, of the sweep itself or else of the newest certification within it."""
    name = "attacked_returns"
    later = (RunFolder(path) for path in sorted(folder.path.glob("certificates-*"), reverse=True))
    return next((each.table(name) for each in (folder, *later) if each.has_table(name)), None)


def _of_file(arguments: Arguments) -> tuple[PolicyFile, Known]:
    """An agent from a file. Raises SpecError where it cannot be read, or is none of the task."""
    if arguments.agent is None or arguments.member is not None:
        raise SpecError("run, agent: give either --run FOLDER --member NUMBER or --agent FILE")
    policy = read_policy(arguments.agent, normalizer=arguments.normalizer, activation=arguments.activation)
    if arguments.env is not None:
        envs.named(arguments.env, "env")
        agent, _ = fit(policy, envs.make(arguments.env))
        policy = policy._replace(agent=agent)
    if arguments.sparsity is not None:
        check_sparsity("sparsity", arguments.sparsity)
        policy = policy._replace(agent=prune(policy.agent.pruned(), jnp.float32(arguments.sparsity)))
    facts = {"task": arguments.env, "sparsity_asked": arguments.sparsity, "source": str(arguments.agent)}
    return policy, Known(facts)


if __name__ == "__main__":
    run_command(Arguments, main)
