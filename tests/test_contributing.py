"""The examples of CONTRIBUTING.md: one of each kind, listed from outside, is in help, tables and figures."""

import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import jaxprune as jp
from experiments import sweep as command
from experiments.command import run_command
from jaxprune import attacks, bounds, envs
from jaxprune import sweep as sweeps
from jaxprune.pruning import scores
from jaxprune.report import figures
from jaxprune.training import regularizers

TEXT = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
LISTS = (
    (attacks.ATTACKS, "towards-zero"),
    (bounds.BOUNDS, "interval-of-twice"),
    (scores.SCORES, "sensitivity"),
    (envs.TASKS, "hold"),
    (regularizers.REGULARIZERS, "calm"),
)


def of_the_examples(**change: object) -> jp.SweepSpec:
    """A small sweep that uses all of them."""
    asked = {
        "env": "hold",
        "score": "sensitivity",
        "arms": "calm:weight=0.2",
        "attacks": "random,towards-zero",
        "sparsities": (0.0, 0.5),
        "steps": 3 * 64,
        "environments": 4,
        "unroll": 16,
        "epochs": 4,
        "minibatches": 2,
        "hidden": (4,),
        "episodes": 2,
        "selection_episodes": 1,
        "certify_episodes": 2,
    }
    return jp.SweepSpec(**asked | change)


@pytest.fixture(name="added", scope="module", autouse=True)
def _added() -> Iterator[None]:
    """The examples are run as they stand, and taken off the lists afterwards."""
    for example in EXAMPLES:
        exec(example, {})
    yield
    for names, name in LISTS:
        del names[name]


@pytest.fixture(name="made", scope="module")
def _made(added: None) -> jp.Sweep:
    return jp.sweep.run(of_the_examples())


def test_there_is_an_example_of_each_kind() -> None:
    assert len(EXAMPLES) == len(LISTS)
    assert all(name in names for names, name in LISTS)


def test_help_lists_them(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["experiments.sweep", "--help"])
    with pytest.raises(SystemExit):
        run_command(command.Arguments, command.main)
    said = capsys.readouterr().out
    for name in ("towards-zero", "sensitivity", "hold", "calm"):
        assert name in said


def test_the_tables_name_them(made: jp.Sweep) -> None:
    assert made.results["attack"].unique(maintain_order=True).to_list() == ["none", "random", "towards-zero"]
    for column, name in (("task", "hold"), ("score", "sensitivity"), ("arm", "calm:weight=0.2")):
        assert made.results[column].unique().to_list() == [name]
    assert made.results["outside_ball"].sum() == 0
    assert made.results.filter(sparsity_asked=0.5)["sparsity"].to_list() == [0.5] * 3


def test_the_new_bound_is_looser_than_the_one_it_is_made_of(made: jp.Sweep) -> None:
    delta = made.certificates.filter(quantity="delta")
    loose, tight = (delta.filter(bound=name).sort("member") for name in ("interval-of-twice", "interval"))
    assert (loose["value"] >= tight["value"]).all() and loose["kind"].unique().to_list() == ["bound"]
    assert loose["violated"].sum() == 0 and not loose["monotone"].any()


def test_the_figures_show_them(made: jp.Sweep) -> None:
    drawn = figures.population_figures(made.results, made.certificates, made.regret)
    words = {text for figure in drawn.values() for text in words_of(figure)}
    assert any("towards-zero" in word for word in words)
    assert any("interval-of-twice" in word for word in words)
    assert any("hold" in word for word in words)


def words_of(figure: object) -> list[str]:
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]


def test_the_regulariser_makes_actions_smaller() -> None:
    def mean_size(arm: str) -> float:
        """Of the actions that the one member would take, after three iterations."""
        spec = of_the_examples(arms=arm, learning_rate=0.03, sparsities=(0.0,), score="auto")
        job = sweeps.job(spec)
        after = jax.jit(partial(sweeps.segment, job, 3))(sweeps.start(job)).learners[0].agent
        x = jax.random.normal(jax.random.key(0), (100, 2))
        agent = jax.tree.map(lambda leaf: leaf[0], after)
        return float(jnp.abs(jax.vmap(agent.output)(x)).mean())

    assert mean_size("calm:weight=100") < 0.5 * mean_size("ppo")
