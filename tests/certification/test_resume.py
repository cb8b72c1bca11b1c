"""A certification that was stopped goes on: to the same tables, and nothing is done twice."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from polars.testing import assert_frame_equal

from jaxprune import SpecError, certification, envs
from jaxprune.budget import Budget
from jaxprune.certification import (
    CertificationSpec,
    ReturnSpec,
    SmoothingSpec,
    procedure,
    smoothing,
    states,
    visited,
)
from jaxprune.policy import agent as agents
from jaxprune.policy.normalizer import Normalizer
from jaxprune.population import Members, Population, prune

ENV = envs.make("probe/categorical")
SPEC = CertificationSpec(eps=0.1, bounds="interval", states=4, starts=2, search_steps=2, episodes=2)
SMOOTHING = SmoothingSpec(
    smoothing_sigma=0.5, smoothing_budget=0.1, smoothing_episodes=20, smoothing_votes=30
)
RETURNED = ReturnSpec(return_episodes=20, return_eps=(0.01,), return_attacked=1)
MEMBERS = 3
PHASES = [
    "clean episodes of every member",
    *(f"certificates of member {member + 1} of {MEMBERS}" for member in range(MEMBERS)),
    *(f"bounds and attack on member {member + 1} of {MEMBERS}" for member in range(MEMBERS)),
    "smoothed episodes of every member",
    "votes of every member",
    "episodes for certified returns",
]


@cache
def population(scale=1.0, diverged=(False, True, True)):
    """A seed dense and pruned, another dense, each behind its own filter. Two of them have diverged."""

    def one(key, sparsity, variance):
        agent = agents.init(key, ENV.observation_size, ENV.action_space.size, discrete=True, hidden=(3,))
        wide = Normalizer(jnp.zeros(ENV.observation_size), variance, jnp.ones(()))
        return prune(agent.replace(normalizer=wide), sparsity)

    who = Members(np.array([0, 0, 1]), np.array([0.0, 0.5, 0.0]), np.array(["ppo"] * MEMBERS))
    variance = scale * jnp.arange(1.0, 1 + MEMBERS)[:, None] * jnp.ones((1, ENV.observation_size))
    keys = jax.random.split(jax.random.key(0), MEMBERS)
    every = jax.vmap(one)(keys, jnp.asarray(who.sparsity, jnp.float32), variance)
    return Population(who, ENV, every, np.array(diverged), Budget(0.1))


class Heard:
    """The phases begun; the callback stops the run when one begins after so many."""

    def __init__(self, most=None):
        self.phases, self._most = [], most

    def __call__(self, update):
        if update.phase not in self.phases:
            if len(self.phases) == self._most:
                raise KeyboardInterrupt
            self.phases.append(update.phase)


def run(folder, heard=None):
    return certification.run(SPEC, SMOOTHING, population(), heard or Heard(), folder, RETURNED)


def assert_same_tables(one, other):
    for name, table in one._asdict().items():
        assert table.height > 0 or name == "audit", name
        assert_frame_equal(table, getattr(other, name), check_exact=True)


def counted(patch, count, module, name):
    """Count the calls of a function of a module."""
    function = getattr(module, name)

    def counting(*arguments, **named):
        count[name] = count.get(name, 0) + 1
        return function(*arguments, **named)

    patch.setattr(module, name, counting)


@pytest.fixture(name="whole", scope="module")
def _whole():
    """The tables of a run that was not stopped and kept nothing."""
    traced, heard = {}, Heard()
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((states, "look"), (visited, "certify_agent")):
            counted(patch, traced, module, name)
        tables = run(None, heard)
    assert heard.phases == PHASES
    # One program for all members, and for both balls of each.
    assert traced == {"look": 1, "certify_agent": 1}
    return tables


@pytest.fixture(name="stopped", scope="module")
def _stopped(whole, tmp_path_factory):
    """The tables and the folder of a run stopped after every stage, and how often what was computed."""
    folder, computed, phases = tmp_path_factory.mktemp("stopped") / "stages", {}, []
    programs = visited._certified._cache_size(), states._looked._cache_size()
    with pytest.MonkeyPatch.context() as patch:
        for module, name in (
            (procedure, "play_in_chunks"),
            (smoothing, "play"),
            (procedure, "spent"),
            (visited, "_certified"),
            (states, "_looked"),
        ):
            counted(patch, computed, module, name)
        for _ in PHASES[:-1]:
            heard = Heard(most=1)
            with pytest.raises(KeyboardInterrupt):
                run(folder, heard)
            phases += heard.phases
        heard = Heard()
        tables = run(folder, heard)
    assert phases + heard.phases == PHASES
    # The programs are those of the run which was not stopped.
    assert (visited._certified._cache_size(), states._looked._cache_size()) == programs
    return tables, folder, computed


def test_stopped_after_every_stage_a_run_ends_with_the_same_tables(whole, stopped):
    assert_same_tables(whole, stopped[0])
    assert set(whole.states["ball"]) == {"own", "dense"}
    marks = whole.states.select("member", "diverged").unique()
    assert dict(marks.iter_rows()) == {0: False, 1: True, 2: True}


def test_no_stage_is_done_twice(stopped):
    # One of them reads through another filter than its dense twin, and is looked at in both balls.
    each = {"_certified": MEMBERS, "_looked": MEMBERS + 1}
    assert stopped[2] == {"play_in_chunks": 1, "play": 1, "spent": 1} | each


def test_where_all_is_done_the_tables_are_made_of_what_is_kept(whole, stopped):
    heard = Heard(most=0)
    assert_same_tables(whole, run(stopped[1], heard))


@pytest.mark.parametrize(
    ("stage", "phase"), [("clean", PHASES[0]), ("certificates-1", PHASES[2]), ("bounds-2", PHASES[6])]
)
def test_a_damaged_stage_is_done_anew_and_no_other(whole, stopped, stage, phase):
    path, heard = stopped[1] / f"{stage}.npz", Heard()
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.warns(UserWarning, match=f"{stage}.npz is damaged and made anew"):
        assert_same_tables(whole, run(stopped[1], heard))
    assert heard.phases == [phase]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"spec": replace(SPEC, starts=3)}, "starts is 3, but what is kept in .* was begun with 2"),
        ({"spec": replace(SPEC, eps=0.2)}, "eps is 0.2, .* begun with 0.1"),
        ({"spec": replace(SPEC, bounds="crown")}, r"bounds is \['crown'\], .* begun with \['interval'\]"),
        ({"smoothing": replace(SMOOTHING, smoothing_votes=31)}, "smoothing_votes is 31, .* begun with 30"),
        (
            {"returned": replace(RETURNED, return_eps=(0.02,))},
            r"return_eps is \[0.02\], .* begun with \[0.01\]",
        ),
        ({"population": {"diverged": (False,) * MEMBERS}}, r"diverged is \[\], .* begun with \[1, 2\]"),
        ({"population": {"scale": 1 + 1e-6}}, "agents is [0-9a-f]{64}, .* begun with [0-9a-f]{64}"),
    ],
    ids=str,
)
def test_the_stages_of_something_else_are_refused_with_the_field(tmp_path, change, said):
    asked = {"spec": SPEC, "smoothing": SMOOTHING, "population": population(), "returned": RETURNED}
    with pytest.raises(KeyboardInterrupt):
        certification.run(**asked, on_progress=Heard(most=0), folder=tmp_path)
    certification.check_resumable(tmp_path, **asked)
    if "population" in change:
        change = {"population": population(**change["population"])}
    with pytest.raises(SpecError, match=f"^resume: {said}") as refused:
        certification.run(**(asked | change), on_progress=Heard(most=0), folder=tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("written", "said"), [("[]", r".*asked.json cannot be read"), ("{}", r"\w+ is .* was begun with none;")]
)
def test_a_folder_that_does_not_say_what_it_is_of_is_refused(tmp_path, written, said):
    (tmp_path / "asked.json").write_text(written)
    with pytest.raises(SpecError, match=f"^resume: {said}"):
        run(tmp_path)


def test_a_bound_that_is_listed_since_is_another_certification(tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Heard(most=0))
    monkeypatch.delitem(certification.stages.BOUNDS, "eclipse")
    with pytest.raises(SpecError, match="known_bounds"):
        run(tmp_path)
