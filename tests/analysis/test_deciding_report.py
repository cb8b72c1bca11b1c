"""The report of `benchmarks.deciding`: its numbers by hand, and who is looked at when."""

import numpy as np
import polars as pl
import pytest

from benchmarks import deciding_report

NAME = "hopper-posthoc-magnitude-ppo"


@pytest.fixture(name="shards")
def _shards(tmp_path, monkeypatch, results):
    """Writes a shard: clean and attacked returns by seed, dense and at .5, and what the search was worth."""
    monkeypatch.setattr(deciding_report, "SHARDS", tmp_path)

    def write(seeds, returns, **further):
        members = [
            (seed, sparsity, clean, {"mad": attacked})
            for seed in seeds
            for sparsity, clean, attacked in returns(seed)
        ]
        path = tmp_path / f"{NAME}-{seeds[0]}_{seeds[-1] + 1}-results.csv"
        results(members).write_csv(path)
        bounds = [
            {"seed": seed, "sparsity_asked": sparsity, "bound": bound, "value": value + seed}
            for seed in seeds
            for sparsity in (0.0, 0.5)
            for bound, value in {"path": 20.0, "crown": 3.0, "mad": 1.0}.items()
        ]
        pl.DataFrame(bounds).write_csv(path.with_name(path.name.replace("results", "certificates")))
        for table, rows in further.items():
            pl.DataFrame(rows).write_csv(path.with_name(path.name.replace("results", table)))

    return write


def lines(first):
    """The cells of the row of the report that begins so."""
    (found,) = [line for line in deciding_report.report().splitlines() if line.startswith(f"| {first} |")]
    return found.strip("| ").split(" | ")[1:]


def quiet(seed):
    return [(0.0, 100 + 2 * seed, 40 + seed), (0.5, 80 + 2 * seed, 50 + seed)]


def test_the_levels_are_means_over_the_seeds_of_all_shards(shards):
    shards((0, 1), quiet)
    shards((2, 4), quiet)
    assert [cell.split()[0] for cell in lines("clean")] == ["104", "83.5"]
    assert [cell.split()[0] for cell in lines("attacked")] == ["41.8", "51.8"]
    # The best is the dense member of seed 4, 108: 108 - 103.5, then 103.5 - 83.5, and 83.5 - 51.75.
    assert lines("regret: best policy minus dense, clean")[1].split()[0] == "4.50"
    assert lines("+ pruning loss")[1].split()[0] == "20.0"
    assert lines("+ robustness gap")[1].split()[0] == "31.8"
    assert lines("CROWN, delta") == ["4.75", "4.75"]
    text = deciding_report.report()
    assert f"| {NAME}, 4 seeds | 0 | 0.5 |" in text
    assert "No verdict yet: the first look is at the seeds 0:12, 4 are there." in text


def test_every_experiment_says_how_it_searched_and_where_was_learned(shards):
    shards((0, 1), quiet)
    text = deciding_report.report()
    assert f"SA-RL and PA-AD: {deciding_report.BEFORE}." in text and "learned under" not in text
    shards((2, 4), quiet, about={"search": ["guesses"], "learned_on": ["Machine: a fast one."]})
    text = deciding_report.report()
    assert "Members and adversaries learned under MJX. Machine: a fast one." in text
    assert deciding_report.searched(deciding_report.shards()[NAME][1]) == "guesses"


def test_a_look_is_at_its_own_seeds_whatever_else_is_there(shards):
    rng = np.random.default_rng(0)
    noise = {seed: rng.normal(size=4) for seed in range(20)}

    def returns(seed):
        one, two, three, four = noise[seed] if seed < 12 else 1000 * noise[seed]
        return [(0.0, 100 + one, 40 + two), (0.5, 100 + three, 41 + four)]

    shards(tuple(range(12)), returns)
    first = lines("0.50")
    shards(tuple(range(12, 20)), returns)
    assert lines("0.50") == first
    assert "Look at 12 seeds, error 2.5%:" in deciding_report.report()
    assert "differences from" in deciding_report.report()


def test_seeds_with_a_gap_are_no_look(shards):
    shards((*range(5), *range(6, 13)), quiet)
    assert "No verdict yet" in deciding_report.report() and "12 are there" in deciding_report.report()


def test_what_the_search_was_worth_is_said_where_it_was_kept(shards):
    shards((0, 1), quiet)
    assert "found for a sibling" not in deciding_report.report()
    shards(
        (2, 3),
        quiet,
        effort=[
            {
                "member": member,
                "attack": "sa-rl",
                "steps": 1000,
                "total_steps": 12000,
                "attackers": 12,
                "return_mean": left,
                "extrapolated": False,
            }
            for member, left in enumerate((10.0, 30.0))
        ],
        transfer=[
            {"seed": 2, "attack": "sa-rl", "found_for": origin, "sparsity_asked": victim, "return_mean": left}
            for origin, victim, left in ((0.0, 0.0, 1.0), (0.0, 0.5, 2.0), (0.5, 0.0, 3.0), (0.5, 0.5, 4.0))
        ],
    )
    assert lines("sa-rl") == ["1,000", "12,000", "20.0"]
    assert "by rungs, means over 2 members:" in deciding_report.report()
    assert lines("sa-rl, victim") == ["found for 0", "found for 0.5"]
    assert lines("0") == ["1.00", "3.00"]
    assert lines("0.5") == ["2.00", "4.00"]
    assert "found for a sibling, the same fresh episodes, one seed:" in deciding_report.report()
