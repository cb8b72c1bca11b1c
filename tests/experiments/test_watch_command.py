"""`python -m experiments.watch`: the video it leaves behind, where the page shows it, and how it refuses."""

import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import attack
from experiments.__main__ import COMMANDS
from experiments.command import run_command
from experiments.watch import Arguments, main
from jaxprune import Population, SpecError, SweepSpec, envs, watching
from jaxprune.envs.mujoco import drawing
from jaxprune.report.video import check_writable
from tests.experiments.agent_files import write_agent
from tests.populations import untrained_run

STEPS = 11  # a frame every 5 steps, and the last one


@pytest.fixture(name="run", scope="module")
def _run(tmp_path_factory):
    """A run of two seeds of hoppers at three sparsities that were never trained."""
    path = tmp_path_factory.mktemp("runs") / "run"
    untrained_run(SweepSpec(env="hopper", sparsities="0,0.5,0.9", seeds=2, hidden=(4,), steps=8192), path)
    return path


@pytest.fixture(name="draws", scope="module")
def _draws():
    """Skips where there is nothing to draw with."""
    try:
        check_writable()
        with drawing.Drawing(envs.Body("hopper.xml", 4), 8, 8):
            pass
    except SpecError as error:
        pytest.skip(str(error))


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["experiments.watch", *map(str, arguments)])
    run_command(Arguments, main)


def refused(monkeypatch, capsys, *arguments):
    with pytest.raises(SystemExit) as left:
        command(monkeypatch, *arguments)
    said = capsys.readouterr().err
    assert left.value.code == 2
    assert said.count("\n") == 1
    return said


def test_a_run_is_shown_in_a_video_and_on_its_page(run, draws, monkeypatch, capsys):
    command(monkeypatch, "--run", run, "--attack", "random", "--steps", STEPS, "--seed", 1)
    printed = " ".join(capsys.readouterr().out.split())
    for fact in ("0.00 none", "0.90 random", "11 going on", "watch-random-seed-1.avif", "report.html"):
        assert fact in printed
    assert "0.50" not in printed
    with Image.open(run / "watch-random-seed-1.avif") as video:
        assert video.n_frames == 4  # after 0, 5, 10 and 11 steps
        width, height = watching.TILE
        assert video.size == (2 * width, 40 + 2 * (height + 36))
        first, last = (np.asarray(_frame(video, number)) for number in (0, 3))
    # All tiles begin alike, and none ends so.
    tiles = [first[y : y + height, x : x + width].astype(int) for y in (76, 352) for x in (0, width)]
    far = [np.abs(tile - tiles[0]).mean() for tile in tiles]
    assert max(far) < 6, far  # of 255: each is packed in its own way
    for y in (76, 352):
        for x in (0, width):
            moved = first[y : y + height, x : x + width].astype(int) - last[y : y + height, x : x + width]
            assert np.abs(moved).max() > 60
    page = (run / "report.html").read_text()
    assert page.count('src="data:image/avif;base64,') == 1
    assert "watch-random-seed-1.avif: policies beside each other" in page
    assert "exists; results are never" in refused(
        monkeypatch, capsys, "--run", run, "--attack", "random", "--seed", 1
    )


def _frame(video: Image.Image, number: int) -> Image.Image:
    video.seek(number)
    return video.convert("RGB")


def test_the_numbers_on_it_are_those_of_the_states_that_are_drawn(run, draws, tmp_path, monkeypatch):
    """What is drawn is what was played, tile by tile, and after an end the last state stands."""
    spec = watching.WatchSpec(attack="random", steps=200)
    population = Population.load(run)
    rows = watching.chosen(spec, population, (0.5,))
    assert rows.tolist() == [1]
    drawn, frames, played = [], [], []
    roll_out = watching.roll_out

    def noted(*arguments):
        played.append(roll_out(*arguments))
        return played[-1]

    monkeypatch.setattr(watching, "roll_out", noted)
    monkeypatch.setattr(drawing.Drawing, "draw", lambda self, qpos, qvel: drawn.append(qpos) or BLANK)
    monkeypatch.setattr(watching, "frame", lambda title, tiles: frames.append((title, tiles)))
    monkeypatch.setattr(watching, "save", lambda *_: None)
    seen = watching.watch(spec, population.of(rows), None, "mode", tmp_path / "no.avif")
    (moments,) = played
    lengths = moments.alive.sum(axis=1)[0]
    assert seen["ended"].to_list() == ["fallen", "fallen"]
    assert seen["steps"].to_list() == lengths.tolist()
    np.testing.assert_array_equal(seen["return"], moments.total[0, -1])
    last = int(lengths.max())
    times = sorted({*range(0, last, 5), last})
    assert [title[1].split(",")[0] for title, _ in frames] == [f"step {time}" for time in times]
    states = {moments.qpos[0, min(time, lengths[row]), row].tobytes() for time in times for row in (0, 1)}
    assert {qpos.tobytes() for qpos in drawn} == states
    _, ((clean,), (attacked,)) = frames[-1]
    assert clean.over and attacked.over
    assert clean.note.endswith(f"fallen after {lengths[0]} steps")
    assert attacked.heading == "sparsity 0.50, random, eps 0.075 (linf, normalised)"


BLANK = np.zeros((*watching.TILE[::-1], 3), np.uint8)


def test_an_agent_from_a_file_is_pruned_and_shown(draws, tmp_path, monkeypatch):
    agent, out = write_agent(tmp_path / "agent.npz", 11, 3), tmp_path / "one.avif"
    command(
        monkeypatch,
        *("--agent", agent, "--env", "hopper", "--sparsities", "0,0.5,0.9", "--attack", "random"),
        *("--steps", 5, "--out", out),
    )
    with Image.open(out) as video:
        assert (video.n_frames, video.size[0]) == (2, 3 * watching.TILE[0])
    assert {path.name for path in tmp_path.iterdir()} == {"agent.npz", "one.avif"}


def test_victims_of_an_attack_are_shown_under_its_attackers(draws, tmp_path, monkeypatch, capsys):
    agent, folder = write_agent(tmp_path / "agent.npz", 11, 3), tmp_path / "attack"
    of_agent = ("--agent", agent, "--env", "hopper", "--sparsities", "0,0.5", "--attacks", "random")
    few = ("--episodes", 1, "--selection-episodes", 1, "--eps", 0.05, "--out", folder)
    monkeypatch.setattr(sys, "argv", ["experiments.attack", *map(str, (*of_agent, *few))])
    run_command(attack.Arguments, attack.main)
    capsys.readouterr()
    shown = ("--attackers", folder, "--sparsities", "0.5")
    assert "attack: unknown name 'mad'" in refused(monkeypatch, capsys, *shown)
    assert "eps: " in refused(monkeypatch, capsys, *shown, "--attack", "random", "--eps", 0.1)
    command(monkeypatch, *shown, "--attack", "random", "--steps", 5)
    with Image.open(folder / "watch-random-seed-0.avif") as video:
        assert (video.n_frames, video.size[0]) == (2, watching.TILE[0])
    assert "watch-random-seed-0.avif" in (folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--seed", 2), "seed: no member has 2; there are 0, 1"),
        (("--sparsities", "0,0.7"), "sparsities: no member has 0.7; there are 0, 0.5, 0.9"),
        (("--sparsities", "0:0.4:0.1"), "sparsities: 5 do not fit side by side; name at most 4"),
        (("--arm", "sa-convex"), "arm: unknown name 'sa-convex'"),
        (("--attack", "mda"), "attack: unknown name 'mda'; did you mean 'mad'?"),
        (("--attack", "none"), "attack: 'none' is the upper row"),
        (("--attack", "sa-rl"), "'sa-rl' must be learned for each victim"),
        (("--steps", 0), "steps: 0 must be at least 1"),
        (("--out", "video.mp4"), "out: video.mp4 must end in .avif"),
        (("--out", "missing/video.avif"), "out: there is no folder missing"),
        (("--attackers", "RUN"), "run: the victims are those of"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(run, arguments, said, monkeypatch, capsys):
    before = sorted(run.iterdir())
    given = (run if argument == "RUN" else argument for argument in arguments)
    assert said in refused(monkeypatch, capsys, "--run", run, *given)
    assert sorted(run.iterdir()) == before


def test_where_nothing_draws_nothing_is_played_or_written(run, monkeypatch, capsys):
    def missing():
        raise ImportError("no EGL")

    monkeypatch.setattr(drawing, "_surface_kind", missing)
    monkeypatch.setattr(watching, "roll_out", jax.block_until_ready)  # which would complain of five arguments
    before = sorted(run.iterdir())
    said = refused(monkeypatch, capsys, "--run", run, "--attack", "random", "--seed", 0)
    assert "nothing can be drawn off-screen here (no EGL); install EGL" in said
    assert sorted(run.iterdir()) == before


def test_a_task_without_a_body_is_refused(tmp_path, monkeypatch, capsys):
    untrained_run(
        SweepSpec(env="probe/linear", sparsities="0,0.5", hidden=(4,), steps=8192), tmp_path / "run"
    )
    said = refused(monkeypatch, capsys, "--run", tmp_path / "run")
    assert "watch: probe/linear on none has no body that MuJoCo moves" in said
    assert not list((tmp_path / "run").glob("watch*"))


def test_the_command_is_listed():
    assert "watch" in COMMANDS
    assert Path(main.__code__.co_filename).stem == "watch"
