"""The comparison with other programs: what is kept, asked, worked out and said. The speeds are no tests."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from math import inf
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from benchmarks import run
from benchmarks.comparison import machine_load, ours, report
from benchmarks.comparison.policies import STATES, Policies, thinned
from benchmarks.comparison.rounds import SCHEMA, Measured, Rounds
from benchmarks.comparison.rows import LIMIT, ORDINARY, PARTS, QUICK, ROWS, Part, Prepared, Row, Setting
from benchmarks.comparison.workers import SCRIPTS, PeerError, SideBySide, side_by_side

TRAINING = {row.name: row for row in ROWS if row.part == "training"}
RETURN = [row for row in ROWS if row.part == "return"]


def kept(folder: Path, row: Row, *measured: Measured, others: float = 0.0) -> None:
    for one in measured:
        Rounds(folder).add(row.part, row.name, [one], others, "peer 1.0")


def line(rounds: pl.DataFrame, row: Row, missing: dict[Row, str] | None = None) -> dict[str, str]:
    return report.summary(rounds, missing or {}).row(by_predicate=pl.col("row") == row.name, named=True)


# --- rows ---------------------------------------------------------------------------------------------------


def test_rates_and_durations_are_worked_out_from_the_same_two_numbers() -> None:
    assert Part("", "", "", True, 1e3).number(6000, 2) == 3
    assert Part("", "", "", False).number(10, 200) == 20


def test_every_row_belongs_to_a_part_and_has_a_name_of_its_own() -> None:
    assert {row.part for row in ROWS} == {part.name for part in PARTS}
    assert len({(row.part, row.name) for row in ROWS}) == len(ROWS)


def test_an_ordinary_run_makes_five_measurements_of_every_row_at_least() -> None:
    assert min(row.wanted(ORDINARY) for row in ROWS) == 5


@pytest.mark.parametrize("size", [ORDINARY, QUICK])
def test_steps_and_seeds_of_a_run_come_out_even(size: object) -> None:
    """Both sides train whole iterations of 2048 steps, and seeds of the peer go two by two."""
    assert size.sparsities % 2048 == 0  # type: ignore[attr-defined]
    assert size.peer_seeds % 2 == 0  # type: ignore[attr-defined]


# --- what is kept -------------------------------------------------------------------------------------------


def test_what_was_measured_is_there_when_the_run_goes_on(tmp_path: Path) -> None:
    Rounds(tmp_path).add("return", "mine", [Measured(10, 3.5, 7.0), Measured(10, inf)], 0.25, "a 1")
    again = Rounds(tmp_path)
    again.add("return", "mine", [Measured(10, 4.5)], 0.5, "a 2")
    assert (again.count("return", "mine"), again.count("return", "other")) == (3, 0)
    table = again.table()
    assert table.schema == pl.Schema(SCHEMA)
    assert table["turn"].to_list() == [0, 1, 2]
    assert table["seconds"].to_list() == [3.5, inf, 4.5]
    assert table["result"].to_list() == [7.0, None, None]
    assert table["versions"].to_list() == ["a 1", "a 1", "a 2"]


def test_the_share_of_other_programs_is_what_was_not_idle() -> None:
    # user nice system idle iowait irq softirq steal: of 100 ticks 60 idle and 15 waiting for a disk
    assert machine_load.busy_share([5] * 8, [15, 10, 10, 65, 20, 5, 5, 10]) == pytest.approx(0.25)


# --- the report ---------------------------------------------------------------------------------------------


def test_a_row_says_median_spread_and_share_of_the_limit_of_the_same_round(tmp_path: Path) -> None:
    limit, ten = TRAINING["physics alone"], TRAINING["jaxprune, 10 members"]
    kept(tmp_path, limit, *(Measured(40_000, seconds) for seconds in (1, 2, 4)))
    kept(tmp_path, ten, *(Measured(20_000, seconds) for seconds in (1, 2, 1)))
    said = line(Rounds(tmp_path).table(), ten)
    assert said["median"] == "20.0"
    assert said["least..most"] == "10.0..20.0"
    assert said["share of physics alone"] == "50% (50%..200%)"
    assert (said["rounds"], said["versions"]) == ("3", "peer 1.0")


def test_a_seed_that_does_not_get_there_counts_as_infinite(tmp_path: Path) -> None:
    ours_row, peer = RETURN
    kept(tmp_path, ours_row, *(Measured(10, seconds, 1100.0) for seconds in (100, 200, inf)))
    kept(tmp_path, peer, Measured(2, inf, 300.0), Measured(2, inf, 500.0), Measured(2, 80, 1000.0))
    table = Rounds(tmp_path).table()
    assert line(table, ours_row)["median"] == "20.0"
    assert line(table, ours_row)["least..most"] == f"10.0..{report.NEVER}"
    assert line(table, peer)["median"] == report.NEVER
    assert line(table, peer)["result"] == "1 of 3 reached it; return 600"


def test_rows_without_a_round_say_why() -> None:
    nothing, (one, other) = pl.DataFrame(schema=SCHEMA), RETURN
    assert line(nothing, one, {one: "no --peers"})["median"] == "not measured: no --peers"
    assert line(nothing, other)["median"] == "not measured"


@pytest.mark.parametrize(("others", "warned"), [(0.02, False), (0.4, True)])
def test_a_table_of_a_busy_machine_says_so(tmp_path: Path, others: float, warned: bool) -> None:
    kept(tmp_path, RETURN[0], Measured(10, 1.0), others=others)
    table = Rounds(tmp_path).table()
    text = report.markdown(report.summary(table, {}), table, "a machine", 1000.0)
    assert ("not to be quoted" in text) is warned
    assert f"{others:.0%}" in text
    heading = report.figure(table, "here").get_suptitle()
    assert ("BUSY" in heading) is warned


def test_the_figure_has_a_bar_for_every_row_that_was_measured(tmp_path: Path) -> None:
    limit, ten = TRAINING["physics alone"], TRAINING["jaxprune, 10 members"]
    kept(tmp_path, limit, Measured(40_000, 1.0))
    kept(tmp_path, ten, Measured(20_000, 1.0), Measured(10_000, 1.0))
    kept(tmp_path, RETURN[1], Measured(2, inf))
    training, returned = report.figure(Rounds(tmp_path).table(), "here").axes
    assert [bar.get_width() for bar in training.patches] == [40, 15]
    assert [list(spread.get_xdata()) for spread in training.lines] == [[40, 40], [10, 20]]
    assert [text.get_text() for text in training.get_yticklabels()] == [limit.name, ten.name]
    assert not returned.patches


def test_bounds_are_points_on_a_logarithmic_scale(tmp_path: Path) -> None:
    row = next(row for row in ROWS if row.part == "bounds")
    kept(tmp_path, row, Measured(1000, 1.0), Measured(3000, 1.0))
    (axes,) = report.figure(Rounds(tmp_path).table(), "here").axes
    assert (axes.get_xscale(), len(axes.patches)) == ("log", 0)
    spread, point = axes.lines
    assert (list(spread.get_xdata()), list(point.get_xdata())) == ([1, 3], [2])


def test_no_figure_is_drawn_of_nothing() -> None:
    with pytest.raises(ValueError, match="no round"):
        report.figure(pl.DataFrame(schema=SCHEMA), "here")


# --- workers ------------------------------------------------------------------------------------------------

SCRIPT = f"""
import os, sys
print("noise of an import")
sys.path.insert(0, {str(SCRIPTS)!r})
from serve import serve
if sys.argv[1] == "ends":
    sys.exit("what is missing")
def measure(number):
    if sys.argv[1] == "ends-later":
        sys.exit("what broke")
    print("noise")
    os.system("echo more noise")
    return {{"amount": number, "seconds": 2.0, "result": float("PYTHONPATH" in os.environ)}}
serve(["polars"], measure)
"""


@pytest.fixture(name="started")
def _started(tmp_path: Path) -> Iterator[Callable[..., SideBySide]]:
    script = tmp_path / "peer.py"
    script.write_text(SCRIPT)
    with ExitStack() as opened:
        python = Path(sys.executable)
        yield lambda *each: side_by_side(
            opened, python, str(script), [(one,) for one in each], tmp_path / "logs"
        )


def test_peers_answer_in_numbers_whatever_they_print(
    started: Callable[..., SideBySide], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "of-this-python")
    pair = started("works", "works")
    assert pair.versions == f"polars {pl.__version__}"
    assert pair.apart(6) == [Measured(6, 2.0, 0.0), Measured(7, 2.0, 0.0)]
    (both,) = pair.together(4)
    assert (both.amount, both.result) == (8 + 9, 0.0)
    assert 0 < both.seconds < 2  # by the clock: the pair is as slow as it was, not as its members say


def test_one_peer_by_itself_says_its_own_seconds(started: Callable[..., SideBySide]) -> None:
    assert started("works").together(3) == [Measured(3, 2.0, 0.0)]


def test_a_peer_that_ends_says_its_last_word(started: Callable[..., SideBySide]) -> None:
    with pytest.raises(PeerError, match=r"^what is missing$"):
        started("ends")
    with pytest.raises(PeerError, match=r"^what broke$"):
        started("ends-later").together(0)


# --- the run ------------------------------------------------------------------------------------------------


@pytest.fixture(name="asked")
def _asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three rows, the third of a peer that is not there. Returns what is measured, in order."""
    asked: list[str] = []

    def of(name: str) -> Row:
        def measure(turn: int) -> list[Measured]:
            asked.append(f"{name}{turn}")
            return [Measured(10_000, 10.0)]

        return Row("training", name, LIMIT, lambda _: Prepared(measure, "v"))

    def of_peer(setting: Setting) -> Prepared:
        return Prepared(lambda _: [], str(setting.python("peers")))

    absent = Row("training", "absent", LIMIT, of_peer)
    monkeypatch.setattr(run, "ROWS", (of("a"), of("b"), absent))
    monkeypatch.setattr(machine_load, "SECONDS", 0.0)
    return asked


def test_rows_are_measured_in_turns_and_none_twice(tmp_path: Path, asked: list[str]) -> None:
    with ExitStack() as opened:
        setting, rounds = Setting(QUICK, tmp_path, opened), Rounds(tmp_path)
        rounds.add("training", "b", [Measured(1, 1.0)], 0.0, "v")
        missing = run.measure("training", setting, rounds)
        assert asked == ["a0", "b1", "a1"]
        ((absent, reason),) = missing.items()
        assert (absent.name, reason.split(";")[0]) == ("absent", "no --peers")
        run.measure("training", setting, rounds)
        assert len(asked) == 3


def test_turns_go_forwards_and_backwards(tmp_path: Path, asked: list[str]) -> None:
    with ExitStack() as opened:
        run.measure("training", Setting(QUICK, tmp_path, opened), Rounds(tmp_path))
    assert asked == ["a0", "b0", "b1", "a1"]


def test_a_python_that_is_not_there_is_named(tmp_path: Path) -> None:
    with ExitStack() as opened, pytest.raises(PeerError, match="--lirpa nowhere: no such file"):
        Setting(QUICK, tmp_path, opened, lirpa=Path("nowhere")).python("lirpa")


# --- ours ---------------------------------------------------------------------------------------------------


def test_a_member_has_arrived_when_it_is_first_there() -> None:
    there = np.array([3.0, inf, inf])
    after = ours.reached(there, np.array([2000.0, 1000.0, 999.9]), 7.0, 1000.0)
    assert after.tolist() == [3.0, 7.0, inf]


def test_policies_in_a_file_act_as_they_did(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shapes = ((4, 3), (2, 4))
    made = Policies(
        tuple(rng.normal(size=(2, *shape)).astype("f") for shape in shapes),
        tuple(rng.normal(size=(2, shape[0])).astype("f") for shape in shapes),
        np.full((2, 2), 0.5, "f"),
        rng.normal(size=(2, 3)).astype("f"),
        np.full((2, 3), 2.0, "f"),
        rng.normal(size=(2, 5, 3)).astype("f"),
    )
    made.save(tmp_path / "policies.npz")
    again = Policies.load(tmp_path / "policies.npz")
    seen = rng.normal(size=3).astype("f")
    for member in range(2):
        agent = jax.tree.map(lambda leaf, member=member: leaf[member], again.agents())
        x = (seen - made.mean[member]) / 2
        first, last = (made.weights[i][member] for i in range(2))
        expected = last @ np.tanh(first @ x + made.biases[0][member]) + made.biases[1][member]
        action = agent.distribution(agent.normalise(jnp.asarray(seen)))
        np.testing.assert_allclose(action.mean, expected, rtol=1e-5)
        np.testing.assert_allclose(action.log_std, np.log(0.5), rtol=1e-6)
    np.testing.assert_array_equal(again.states, made.states)


def test_states_are_thinned_evenly_over_the_living() -> None:
    alive = np.arange(4 * STATES).reshape(-1, 2) % 2 == 0
    observation = np.arange(4 * STATES, dtype=float).reshape(-1, 2, 1)
    few = thinned(observation, alive)
    assert few.shape == (STATES, 1)
    assert (few % 2 == 0).all()
    assert (few[0], few[-1]) == (0, 4 * STATES - 2)
    assert np.abs(np.diff(few[:, 0]) - 4).max() <= 2
