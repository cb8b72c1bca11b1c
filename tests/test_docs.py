"""The documentation says what is true: its examples run, its commands parse, its links lead somewhere."""

import doctest
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
import tyro

import jaxprune as jp
from jaxprune import attacks, envs
from jaxprune.budget import Ball
from jaxprune.errors import SpecError
from jaxprune.pruning import scores

REPOSITORY = Path(__file__).parent.parent
DOCS = REPOSITORY / "docs"
PAGES = {path.relative_to(DOCS).as_posix(): path.read_text() for path in sorted(DOCS.rglob("*.md"))}
TUTORIAL, NOTEBOOK = "tutorial.md", DOCS / "example.ipynb"
OWN = {
    "own_task.md": (envs.TASKS, {"catch", "reach"}),
    "own_attack.md": (attacks.ATTACKS, {"corner"}),
    "own_score.md": (scores.SCORES, {"share"}),
}
"""The list that the examples of each page add to, and what they add."""


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGES[page], re.DOTALL | re.MULTILINE)


class Command(NamedTuple):
    """A line of a page that runs one of our commands."""

    page: str
    name: str
    arguments: list[str]

    def inputs(self) -> list[str]:
        """The files and folders that it reads."""
        if self.name in ("report", "merge"):
            return list(takewhile(lambda word: not word.startswith("--"), self.arguments))
        return [path for option in ("--run", "--agent") for path in self.values(option)]

    def values(self, option: str) -> list[str]:
        pairs = zip(self.arguments, self.arguments[1:], strict=False)
        return [value for name, value in pairs if name == option]


def commands(page: str) -> Iterator[Command]:
    lines = "".join(blocks(page, "bash")) + "".join(blocks(page, "console"))
    for line in lines.splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        for place, word in enumerate(words):
            if word.startswith("experiments."):
                yield Command(page, word.removeprefix("experiments."), words[place + 1 :])


COMMANDS = [command for page in PAGES for command in commands(page)]


@contextmanager
def added(page: str) -> Iterator[dict[str, Any]]:
    """The files of a page, each run from one folder as it stands, and taken off its list afterwards."""
    names, own = OWN[page]
    before, everything = set(names), {}
    with TemporaryDirectory() as folder:
        files = re.findall(r"as `(\S+)`[^\n]*:\n\n```\w+\n(.*?)^```", PAGES[page], re.DOTALL | re.MULTILINE)
        for name, text in files:
            (Path(folder) / name).write_text(text)
        for file in sorted(Path(folder).glob("*.py")):
            defined: dict[str, Any] = {"__file__": str(file)}
            exec(file.read_text(), defined)
            everything |= defined
        try:
            assert set(names) - before == own
            yield everything
        finally:
            for name in own:
                names.pop(name, None)


@pytest.fixture(name="everything_own")
def _everything_own() -> Iterator[None]:
    with added("own_task.md"), added("own_attack.md"), added("own_score.md"):
        yield


def parse(command: Command, monkeypatch: pytest.MonkeyPatch) -> object:
    module = import_module(f"experiments.{command.name}")
    monkeypatch.setattr(sys, "argv", [command.name, *command.arguments])
    default = {"default": module.from_preset()} if hasattr(module, "from_preset") else {}
    return tyro.cli(module.Arguments, args=command.arguments, **default)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: f"{command.page}-{command.name}")
def test_every_command_parses(
    command: Command, monkeypatch: pytest.MonkeyPatch, everything_own: None
) -> None:
    parse(command, monkeypatch)


def test_a_command_with_an_option_that_is_none_does_not_parse(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises((SystemExit, SpecError)):
        parse(Command(TUTORIAL, "sweep", ["--sparsity", "0.5"]), monkeypatch)


def test_there_are_commands_of_every_kind() -> None:
    assert {command.name for command in COMMANDS} >= {"sweep", "export", "certify", "attack", "report"}


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_is_named_or_linked_exists(page: str) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", PAGES[page])
    assert all((DOCS / page).parent.joinpath(link).is_file() for link in links), links
    named = re.findall(r"`((?:jaxprune|tests|docs|experiments|benchmarks)/[\w./]+)`", PAGES[page])
    assert all((REPOSITORY / name).exists() for name in named), named


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("reference/")])
def test_every_module_of_the_reference_has_what_is_asked_for(page: str) -> None:
    asked = re.findall(r"^::: (\S+)\n    options:\n(?:      members: \[(.*)\]\n)?", PAGES[page], re.MULTILINE)
    assert len(asked) == PAGES[page].count("\n::: ") > 0
    for module, members in asked:
        for member in filter(None, members.split(",")):
            assert (getattr(import_module(module), member.strip()).__doc__ or "").strip()


def test_the_tutorial_reads_only_what_it_has_written() -> None:
    written: set[str] = set()
    for command in commands(TUTORIAL):
        assert {path.partition("/")[0] for path in command.inputs()} <= written
        written |= set(command.values("--out"))
    assert written == {"line", "mine", "certificates", "attacks", "both.html"}


def test_the_notebook_is_one_and_holds_no_output() -> None:
    """Of the format 4.5, as Jupyter, Colab and GitHub read it."""
    notebook = json.loads(NOTEBOOK.read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    for cell in notebook["cells"]:
        assert cell["metadata"] == {}
        assert all(line.endswith("\n") for line in cell["source"][:-1])
        code = {"execution_count": None, "outputs": []} if cell["cell_type"] == "code" else {}
        assert cell.keys() - {"id", "cell_type", "metadata", "source"} == code.keys()
        assert code.items() <= cell.items()


def test_the_notebook_runs_and_says_what_its_words_say(capsys: pytest.CaptureFixture[str]) -> None:
    """Cell by cell, as a kernel does, without one: that would be twenty packages for the sake of `exec`."""
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    defined: dict[str, Any] = {}
    for number, cell in enumerate(cells):
        exec(compile("".join(cell["source"]), f"cell {number}", "exec"), defined)
    assert defined["result"].population.members.size == 18
    assert defined["returns"].height == 9
    assert len(defined["figure"].axes) == 1
    assert defined["distances"]["violated"].drop_nulls().sum() == 0
    assert defined["monotone"].height > 0
    printed = capsys.readouterr().out
    assert "did you mean 'probe/linear'?" in printed
    assert "6 seeds, family-wise error 5% over 2 sparsities" in " ".join(printed.split())


def test_the_page_of_the_notebook_is_all_of_it() -> None:
    text = NOTEBOOK.read_text()
    page = notebook_pages().page_of("example.ipynb", text)
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        assert (f"```python\n{source}\n```" if cell["cell_type"] == "code" else source) in page
    links = re.findall(r"\]\(([^)#]+)\)", page)
    assert "example.ipynb" in links and all((DOCS / link).is_file() for link in links)


def notebook_pages() -> ModuleType:
    """What the site's generator is hooked into."""
    spec = spec_from_file_location("notebook_pages", DOCS / "notebook_pages.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path: Path) -> None:
    """As it is written: in order, by a shell, from an empty folder."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    variables = {**os.environ, "PATH": path, "PYTHONPATH": str(REPOSITORY)}
    for block in blocks(TUTORIAL, "bash"):
        shell = ["bash", "-euo", "pipefail", "-c", block]
        done = subprocess.run(shell, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    for name in ("line/report.html", "mine/policy.safetensors", "both.html"):
        assert (tmp_path / name).is_file()


def test_the_examples_of_the_public_names_are_true() -> None:
    shared: dict[str, Any] = {}
    runner = doctest.DocTestRunner()
    for block in blocks("names.md", "pycon"):
        example = doctest.DocTestParser().get_doctest(block, shared, "names.md", "names.md", 0)
        runner.run(example, clear_globs=False)
        shared = example.globs
    assert runner.summarize(verbose=False).failed == 0
    assert runner.tries > 0


@pytest.mark.parametrize("name", jp.__all__)
def test_every_public_name_has_an_example(name: str) -> None:
    assert re.search(rf"\bjp\.{name}\b", "".join(blocks("names.md", "pycon")))


def test_the_task_is_solved_by_undoing_number_and_wind() -> None:
    with added("own_task.md"):
        env = envs.make("catch")
        state = env.reset(jax.random.key(0))
        for _ in range(3):
            number, wind = state.observation
            state, transition = env.step(state, jnp.array([-number - wind]))
            assert transition.reward == pytest.approx(1.0, abs=1e-6)
        state, transition = env.step(state, jnp.array([0.5]))
        assert transition.reward == pytest.approx(1 - (0.5 + float(wind)) ** 2, abs=1e-6)


@pytest.mark.parametrize(
    ("physics", "near"), [("native", 1e-5), pytest.param("mjx", 1e-4, marks=pytest.mark.slow)]
)
def test_the_arm_reaches_as_a_loop_of_mujoco_says(physics: str, near: float) -> None:
    """Steps by `mj_step` in float64, which knows nothing of this library, until the arm is too fast."""
    with added("own_task.md") as defined:
        env = envs.make("reach", physics, charge="raw")
        body = mujoco.MjModel.from_xml_path(str(Path(defined["__file__"]).with_name("reach.xml")))  # pyright: ignore
        state = jax.jit(env.reset)(jax.random.key(3))
        data = mujoco.MjData(body)  # pyright: ignore[reportAttributeAccessIssue]
        data.qpos[:], data.qvel[:] = state.physics.qpos, state.physics.qvel
        step = jax.jit(env.step)
        for time in range(50):
            action = np.array([1.5 * np.sin(0.3 * time), 0.65], np.float32)
            data.ctrl[:] = np.clip(action, -1, 1)
            for _ in range(2):
                mujoco.mj_step(body, data)  # pyright: ignore[reportAttributeAccessIssue]
            state, transition = step(state, jnp.asarray(action))
            tip, target = data.site("tip").xpos, data.site("target").xpos
            cosines, sines, speeds = np.cos(data.qpos[:2]), np.sin(data.qpos[:2]), data.qvel[:2]
            seen = np.concatenate([cosines, sines, speeds, target[:2] - tip[:2]])
            np.testing.assert_allclose(transition.observation, seen, rtol=near, atol=near)
            earned = 1 - np.hypot(*(target - tip)[:2]) - 0.01 * np.square(action).sum()
            assert transition.reward == pytest.approx(earned, abs=near)
            assert transition.terminated == (np.abs(speeds).max() > 10)
            if transition.terminated:
                break
        assert transition.terminated and not transition.failed
        assert time > 20


def test_the_attack_makes_the_action_of_a_linear_policy_as_large_as_it_can_be() -> None:
    """mu(x) = w . x, which the ball can lengthen by eps |w|_1 and by no more."""
    weights = np.array([1.0, -2.0, 0.5], np.float32)

    class Linear(NamedTuple):
        def output(self, x: jax.Array) -> jax.Array:
            return jnp.asarray(weights) @ x[:, None]

    with added("own_attack.md") as defined:
        x = jnp.array([0.3, 0.1, 0.2])
        shown, memory = defined["Corner"]().perturb(jax.random.key(0), Linear(), x, Ball(0.1), ())
    assert memory == ()
    assert np.max(np.abs(shown - x)) == pytest.approx(0.1, abs=1e-6)
    assert weights @ shown == pytest.approx(weights @ np.asarray(x) + 0.1 * 3.5, abs=1e-6)


def test_the_score_is_a_share_of_what_goes_into_a_unit() -> None:
    with added("own_score.md"):
        kernel = jnp.array([[1.0, 0.0], [-3.0, 0.0]])
        found = scores.SCORES["share"].of({"layer": kernel}, jax.random.key(0))
    np.testing.assert_allclose(found["layer"], [[0.25, 0.0], [0.75, 0.0]])


@pytest.mark.skipif(
    not (find_spec("mkdocs") and find_spec("mkdocstrings")),
    reason="the generator is not installed: pip install -e '.[docs]'",
)
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    variables = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(build, cwd=REPOSITORY, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for page in ("index.html", "tutorial/index.html", "example/index.html", "reference/bounds/index.html"):
        assert (tmp_path / "site" / page).is_file()
