"""What `benchmarks.learn_here` leaves is what `benchmarks.deciding` would learn, and is gone on with."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

import jaxprune as jp
from benchmarks import deciding, learn_here, train_here
from benchmarks.deciding import Arguments

LAYOUT = {"physics": "none", "environments": 4, "unroll": 16, "attacks": "mad", "certify_episodes": 2}


def quick(arguments):
    return jp.AttackSearchSpec(
        attacks="random,sa-rl,pa-ad",
        search="quick",
        steps=arguments.attack_steps,
        chunk=10,
        selection_episodes=2,
        episodes=4,
    )


@pytest.fixture(name="asked")
def _asked(tmp_path, monkeypatch):
    monkeypatch.setitem(deciding.LAYOUT, "mjx", LAYOUT)
    monkeypatch.setattr(train_here, "MEASURED", "none")
    for module in (deciding, learn_here):
        monkeypatch.setattr(module, "search", quick)
    return Arguments(
        task="probe/linear",
        seeds="0:2",
        schedule="gradual",
        steps=4 * 64,
        attack_steps=2048,
        learned_under="mjx",
        out=tmp_path,
    )


def test_the_shard_takes_what_was_learned_elsewhere(asked, monkeypatch):
    learn_here.main(asked)
    folder = asked.out / asked.name
    population = jp.Population.load(folder)
    anew = jp.attack_search.run(quick(asked), population)

    def nothing_learns(*_):
        raise AssertionError

    monkeypatch.setattr("jaxprune.training.search._learned", nothing_learns)
    tables = deciding.shard(asked, folder)
    assert set(tables) == {"certificates", "effort", "about", "results"}
    assert "benchmarks.learn_here" in tables["about"]["learned_on"].item()
    kept = tables["results"].filter(pl.col("attack") != "none")
    own, _ = jp.attack_search.of_a_run(anew.results, population)
    expected = own.filter(pl.col("attack") != "none")
    assert kept["attack"].to_list() == expected["attack"].to_list()
    # All side by side there, in chunks of ten here: programs of other sizes round otherwise.
    np.testing.assert_allclose(kept["return_mean"], expected["return_mean"], rtol=1e-3)


def test_what_was_not_learned_elsewhere_is_asked_for_and_not_learned_here(asked, monkeypatch):
    """Nothing is there, or the members and no adversaries, since it was stopped."""

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(learn_here, "learn_adversaries", stopped)
    with pytest.raises(KeyboardInterrupt):
        learn_here.main(asked)
    assert (asked.out / asked.name / "population").is_dir()
    for folder in (asked.out / asked.name, asked.out / "nowhere"):
        with pytest.raises(jp.SpecError, match=r"not all there; benchmarks\.learn_here makes it"):
            deciding.shard(asked, folder)


def test_native_needs_nothing_from_elsewhere(asked):
    with pytest.raises(jp.SpecError, match="learned_under"):
        learn_here.main(replace(asked, learned_under="native"))
