"""`python -m experiments.export`: a member of a run or an agent in files, and the way back."""

import json
import shutil
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from experiments.command import run_command
from experiments.export import Arguments, main
from experiments.victims import Source
from jaxprune import SpecError, SweepSpec, envs
from jaxprune.analysis import CERTIFICATES, RESULTS
from jaxprune.export import NAMES
from jaxprune.policy import agent as agents
from jaxprune.policy.files import PolicyFile, read_policy, to_bytes
from jaxprune.population import Population
from jaxprune.pruning import masks
from jaxprune.run_folder import RunFolder
from tests.experiments.agent_files import write_agent
from tests.populations import untrained_run

PEERS = Path(__file__).parents[1] / "policy" / "peers"


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["experiments.export", *map(str, arguments)])
    run_command(Arguments, main)


def refused(monkeypatch, capsys, *arguments):
    with pytest.raises(SystemExit) as left:
        command(monkeypatch, *arguments)
    said = capsys.readouterr().err
    assert left.value.code == 2
    assert said.count("\n") == 1
    return said


@pytest.fixture(name="run", scope="module")
def _run(tmp_path_factory):
    """A run of two members that were never trained, with tables of one row each."""
    path = tmp_path_factory.mktemp("runs") / "run"
    spec = SweepSpec(env="probe/linear", sparsities="0,0.5", eps="0.05,0.1,0.02", hidden=(4,), steps=8192)
    untrained_run(spec, path)
    budget = {"eps": 0.1, "norm": "linf", "space": "normalised", "diverged": False}
    played = {"attack": "mad", "attackers_tried": 4, "episodes": 3, "return_std": 0.5}
    results = [{"member": i, **played, "return_mean": 7.25 + i, **budget} for i in range(2)]
    certificates = [
        {
            "member": i,
            "bound": bound,
            "quantity": quantity,
            "kind": "bound",
            "arithmetic": "float32, rounded outwards",
            "value": 0.125 * (i + 1),
            "confidence": 0.999 if quantity == "return" else None,
            "vacuous": True if quantity == "return" else None,
            **budget,
        }
        for i in range(2)
        for bound, quantity in (("crown", "delta_action"), ("crown", "delta_dense"), ("gap", "return"))
    ]
    for name, rows in {"results": results, "certificates": certificates}.items():
        RunFolder(path).write_table(name, pl.DataFrame(rows))
    return path


def test_a_member_of_a_run_is_exported_with_what_is_known_of_it(run, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    command(monkeypatch, "--run", run, "--member", 1, "--out", out, "--no-onnx")
    assert "policy.safetensors" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == set(NAMES.values()) - {"policy.onnx"}
    card = (out / "CARD.md").read_text()
    for fact in (
        "probe/linear",
        "sparsity asked: 0.5",
        "crown | 0.250 | bound",
        "float32, rounded",
        "| what an adversary can cost | gap | 0.250 | bound | float32, rounded outwards | 99.9% | yes |",
        "outwards |  |  |",
        "| mad | 4 | 0.100 | linf | normalised | 3 | 8.25 | 0.500 | no |",
        "None was computed. `python -m experiments.certify --agent policy.safetensors --env probe/linear "
        "--return-episodes 200` does it",
    ):
        assert fact in card
    assert "7.25" not in card  # the other member's
    assert card.count("crown |") == 1  # not the comparison with the dense twin
    about = json.loads((out / "policy.json").read_text())
    assert (about["member"], about["sparsity_asked"], about["eps"]) == (1, 0.5, [0.05, 0.1, 0.02])
    population = Population.load(run)
    assert population.budget.eps == 0.1  # the largest
    member = population.policy(1).agent
    read = read_policy(out / "policy.safetensors").agent
    observation = jnp.array([1.0, -2.0, 0.5, 30.0])
    np.testing.assert_array_equal(
        read.output(read.normalise(observation)), member.output(member.normalise(observation))
    )


def test_compact_leaves_out_the_units_that_were_cut_off(tmp_path, monkeypatch, capsys):
    path, outs = tmp_path / "run", (tmp_path / "whole", tmp_path / "compact")
    units = {"scope": "unit", "schedule": "static", "hidden": (8, 8)}
    untrained_run(SweepSpec(env="probe/linear", sparsities="0,0.75", steps=8192, **units), path)
    for name, schema in {"results": RESULTS, "certificates": CERTIFICATES}.items():
        RunFolder(path).write_table(name, pl.DataFrame(schema=schema))
    for out, option in zip(outs, ((), ("--compact",)), strict=True):
        command(monkeypatch, "--run", path, "--member", 1, "--out", out, "--no-onnx", *option)
    said = capsys.readouterr().out
    whole, smaller = (read_policy(out / "policy.safetensors").agent for out in outs)
    widths = json.loads((outs[1] / "policy.json").read_text())["hidden"]
    assert sum(widths) <= 6  # of 16, three quarters gone and what led to them only
    assert f"compact: {widths[0]}-{widths[1]} of 8-8 hidden units" in said
    assert f"compact: {widths[0]}-{widths[1]} of 8-8" in (outs[1] / "CARD.md").read_text()
    x = 3 * jax.random.normal(jax.random.key(0), (20, 4))
    np.testing.assert_allclose(jax.vmap(smaller.output)(x), jax.vmap(whole.output)(x), rtol=1e-6, atol=1e-6)


def limits(certified):
    """Certified returns of two members at two radii, as a run holds them."""
    about = {"norm": "linf", "space": "raw", "std": 1.0, "arithmetic": "float32", "confidence": 0.95}
    counts = {"simultaneous": 16, "episodes": 30, "attacked_episodes": 10, "lowest": 0.0, "diverged": False}
    means = {
        "mean_max_lowest": 9.5,
        "certified_mean": certified,
        "mean_blocks": 9.5,
        "certified_blocks": 3.5,
        "attacked_mean": -8.0,
        "attacked_max_lowest": 8.0,
        "attacked_blocks": 8.5,
    }
    return pl.DataFrame(
        [{"member": i, "eps": eps, **about, **counts, **means} for i in range(2) for eps in (0.02, 0.005)]
    ).with_columns(pl.col("certified_mean") + pl.col("member"))


def test_the_card_states_certified_returns_and_what_they_are_about(run, tmp_path, monkeypatch):
    whole = tmp_path / "run"
    shutil.copytree(run, whole)
    for place, certified in (("certificates-1", 1.25), ("certificates-2", 2.25)):
        (whole / place).mkdir()
        RunFolder(whole / place).write_table("attacked_returns", limits(certified))
    command(monkeypatch, "--run", whole, "--member", 1, "--out", tmp_path / "newest", "--no-onnx")
    card = (tmp_path / "newest" / "CARD.md").read_text()
    for fact in (
        "E[max(R, 0)] of the **stochastic** policy",
        "All 16 limits of the run hold together with confidence 0.95, by 30 episodes each",
        "| 0.005 | linf | raw | 9.50 | 3.25 | 3.50 | 8.00 | 10 |\n| 0.02 | linf | raw | 9.50 | 3.25 |",
    ):
        assert fact in card
    assert "None was computed" not in card
    # What the sweep itself has certified comes first.
    RunFolder(whole).write_table("attacked_returns", limits(5.0))
    command(monkeypatch, "--run", whole, "--member", 0, "--out", tmp_path / "own", "--no-onnx")
    assert "| 0.02 | linf | raw | 9.50 | 5.00 |" in (tmp_path / "own" / "CARD.md").read_text()
    apart = (
        limits(5.0).with_columns(mean_blocks=pl.lit(12.0)).drop("attacked_max_lowest")
    )  # as runs of before
    RunFolder(whole).write_table("attacked_returns", apart)
    command(monkeypatch, "--run", whole, "--member", 0, "--out", tmp_path / "before", "--no-onnx")
    card = (tmp_path / "before" / "CARD.md").read_text()
    assert "| certified by blocks | clean by blocks | under MAD by blocks | under MAD, of R | MAD ep" in card
    assert "| 0.02 | linf | raw | 9.50 | 5.00 | 3.50 | 12.0 | 8.50 | -8.00 | 10 |" in card
    gone = limits(5.0).with_columns(diverged=pl.lit(True), certified_mean=None)
    RunFolder(whole).write_table("attacked_returns", gone)
    command(monkeypatch, "--run", whole, "--member", 0, "--out", tmp_path / "gone", "--no-onnx")
    assert "None was computed" in (tmp_path / "gone" / "CARD.md").read_text()


def test_a_card_names_the_spread_of_every_radius(run, tmp_path, monkeypatch):
    """It is chosen for each, so that no one number holds of all."""
    whole = tmp_path / "run"
    shutil.copytree(run, whole)
    wider = limits(5.0).with_columns(std=pl.when(eps=0.02).then(4.0).otherwise(2.0))
    said = {}
    for name, table in {"one": wider.filter(eps=0.02), "two": wider}.items():
        RunFolder(whole).write_table("attacked_returns", table)
        command(monkeypatch, "--run", whole, "--member", 0, "--out", tmp_path / name, "--no-onnx")
        said[name] = (tmp_path / name / "CARD.md").read_text()
    assert "draws its actions with 4 times its standard deviation;" in said["one"]
    assert "| eps | norm | space | clean mean |" in said["one"]
    assert "draws its actions, at each radius with so many times its standard deviation as" in said["two"]
    assert "| eps | norm | space | times its std | clean mean |" in said["two"]
    assert "| 0.005 | linf | raw | 2.00 | 9.50 |" in said["two"]
    assert "| 0.02 | linf | raw | 4.00 | 9.50 |" in said["two"]


def test_an_agent_is_pruned_exported_and_taken_back(tmp_path, monkeypatch, capsys):
    agent = write_agent(tmp_path / "agent.npz", 4, 1)
    out = tmp_path / "out"
    command(
        monkeypatch, "--agent", agent, "--env", "probe/linear", "--sparsity", 0.5, "--out", out, "--no-onnx"
    )
    back = Source(agent=out / "policy.safetensors", env="probe/linear", sparsities="0,0.75").load(
        0.1, "linf", "normalised"
    )
    # It keeps what it has lost, and loses more.
    np.testing.assert_allclose([float(masks.achieved(back.policy(i).agent)) for i in range(2)], [0.5, 0.75])


def test_a_member_of_a_run_is_an_agent_too(run):
    taken = Source(agent=run, member=1, env="probe/linear").load(0.1, "linf", "normalised")
    assert taken.trained_by is None
    observation = jnp.array([1.0, -2.0, 0.5, 30.0])
    one, other = (population.policy(i).agent for population, i in ((taken, 0), (Population.load(run), 1)))
    np.testing.assert_array_equal(
        one.output(one.normalise(observation)), other.output(other.normalise(observation))
    )


def test_a_squashing_agent_acts_in_a_squashed_environment(tmp_path):
    file = tmp_path / "policy.safetensors"
    file.write_bytes(to_bytes(PolicyFile(agents.init(jax.random.key(0), 4, 1), squash=(-1.0, 1.0)), {}))
    population = Source(agent=file, env="probe/linear").load(0.1, "linf", "normalised")
    assert population.env is envs.squashed(envs.make("probe/linear"))
    assert population.to_dict()["squashes"]
    assert population.policy(0).squash == (-1, 1)


def test_a_source_is_written_down_and_read_again(tmp_path):
    source = Source(
        agent=tmp_path / "a", member=3, normalizer=tmp_path / "v", activation="relu", env="hopper"
    )
    assert Source.from_dict(json.loads(json.dumps(source.to_dict()))) == source
    before = {"run": None, "agent": "/a", "env": "hopper", "physics": "auto", "sparsities": None}
    assert Source.from_dict(before) == Source(agent=Path("/a"), env="hopper")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--member", 0), "run, agent: give either --run FOLDER --member NUMBER or --agent FILE"),
        (("--run", "RUN"), "member: a run has many"),
        (("--run", "RUN", "--member", 2), "member: 2 is not one of 0 to 1"),
        (("--run", "RUN", "--member", 0, "--sparsity", 0.5), "sparsity: not for a member of a run"),
        (("--agent", "RUN"), "no policy that we know; what can be read: "),
        (("--agent", "missing"), "No such file"),
        (("--agent", PEERS / "sb3_recurrent.zip"), "a recurrent agent; what can be read: "),
        (("--agent", PEERS / "sb3_ppo.zip", "--sparsity", 1), "sparsity: 1 is outside"),
        (("--agent", PEERS / "sb3_ppo.zip", "--env", "hopper"), "it maps 3 features to 1 actions"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(run, arguments, said, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    given = (run if argument == "RUN" else argument for argument in arguments)
    assert said in refused(monkeypatch, capsys, *given, "--out", out)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"run": "RUN", "member": 0}, "member: goes with --agent FILE"),
        ({"agent": "RUN"}, "is a run, which has many; say which"),
        ({"agent": "RUN", "member": 0, "activation": "relu"}, "a run knows those of its members"),
        ({"agent": PEERS / "sb3_ppo.zip", "member": 0}, "is not the folder of a run"),
    ],
)
def test_sources_that_contradict_themselves(run, source, said):
    given = {name: run if value == "RUN" else value for name, value in source.items()}
    with pytest.raises(SpecError, match=said):
        Source(**given, env="probe/linear").load(0.1, "linf", "normalised")
