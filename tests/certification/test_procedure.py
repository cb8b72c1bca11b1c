"""The whole audit: whose episodes are visited, and what is left of a member that diverged."""

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from jaxprune import certification, envs
from jaxprune.budget import Budget
from jaxprune.certification import CertificationSpec, SmoothingSpec
from jaxprune.envs.probes import HORIZON, WEIGHTS
from jaxprune.policy import agent as agents
from jaxprune.population import Members, Population
from jaxprune.report import audit_words
from tests.report.texts import whole

ENV = envs.make("probe/linear")


def population(diverged):
    """Twice the optimal policy of `probe/linear`, whose actions are spread by 1 about the best ones."""
    agent = agents.init(jax.random.key(0), WEIGHTS.size, 1, hidden=())
    agent = agent.replace(policy={"layer_0": {"kernel": -jnp.array(WEIGHTS)[:, None], "bias": jnp.zeros(1)}})
    both = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), agent)
    everyone = Members(np.array([0, 0]), np.array([0.0, 0.5]), np.array(["ppo"] * 2))
    return Population(everyone, ENV, both, np.array(diverged), Budget(0.1))


def audited(policy, diverged):
    spec = CertificationSpec(
        eps=0.1, bounds="interval", states=4, starts=2, search_steps=2, episodes=3, policy=policy
    )
    smoothing = SmoothingSpec(smoothing_sigma=0.5, smoothing_budget=0.1, smoothing_episodes=20)
    return certification.run(spec, smoothing, population(diverged))


def printed(found, post_hoc=False):
    tables = found._asdict()
    tables.pop("attacked_return_curve")
    return whole(audit_words(above=tables.pop("audit"), **tables, confidence=0.95, post_hoc=post_hoc))


@pytest.fixture(name="half_gone", scope="module")
def _half_gone():
    """The audit of the stochastic policies; the pruned member has diverged."""
    return audited("sampled", (False, True))


def test_the_episodes_are_those_of_the_policy_asked_for(half_gone):
    mode = audited("mode", (False, False))
    # The optimal policy earns 1 at every step; a third of its draws are off by more than 1.
    assert mode.returns["return_mean"].to_list() == pytest.approx([HORIZON] * 2)
    assert (half_gone.returns["return_mean"] < 0.9 * HORIZON).all()
    assert set(mode.returns["policy"]) == {"mode"} and set(half_gone.returns["policy"]) == {"sampled"}
    about = set(half_gone.certificates["quantity"]) - set(mode.certificates["quantity"])
    assert about == {"tv", "tv_dense", "tv_limit", "return"}


def test_a_diverged_member_is_marked_in_every_table(half_gone):
    for name in ("states", "members", "certificates", "returns", "smoothing"):
        marks = getattr(half_gone, name).select("member", "diverged").unique()
        assert dict(marks.iter_rows()) == {0: False, 1: True}, name
    assert half_gone.audit.is_empty()


def test_a_diverged_member_is_named_first_and_counts_in_no_row(half_gone):
    lines = [line for line in printed(half_gone).splitlines() if line.strip()]
    assert lines[0].startswith("DIVERGED") and "members 1 (seed 0, sparsity 0.5)" in " ".join(lines[:2])
    assert not any(line.split()[:1] == ["0.50"] for line in lines)  # no row of its sparsity
    assert any("no pruned member has a dense twin" in line for line in lines)


def test_where_all_diverged_nothing_else_is_said(half_gone):
    gone = half_gone._replace(
        **{
            name: table.with_columns(diverged=pl.lit(True))
            for name, table in half_gone._asdict().items()
            if name in ("members", "certificates", "returns", "smoothing")
        }
    )
    (first, *rest) = [line for line in printed(gone).splitlines() if line.strip()]
    assert first.startswith("DIVERGED") and len(rest) <= 1
