"""What an audit asks of its parts, by what kind of policy it is about."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprune import AuditSpec, Population, SpecError
from jaxprune.attack_search import EFFORTS
from jaxprune.budget import Budget
from tests.experiments.agent_files import write_agent

SPEC = AuditSpec(eps="0.1")


@pytest.fixture(name="population", scope="module")
def _population(tmp_path_factory):
    """An agent of `probe/linear`, dense and pruned."""
    file = write_agent(tmp_path_factory.mktemp("agents") / "agent.npz", 4, 1)
    return Population.from_agent(file, "probe/linear", sparsities="0,0.5", budget=Budget(0.1))


def changed(population: Population, **parts: object) -> Population:
    """The same members with other agents."""
    members = (population.members, population.env, population.agents.replace(**parts), population.diverged)
    return Population(*members, population.budget)


def test_without_a_value_network_there_is_no_critic_attack(population):
    assert SPEC.of(population).attack.attacks == ("random", "critic", "mad")
    silent = jax.tree.map(jnp.zeros_like, population.agents.value)
    assert SPEC.of(changed(population, value=silent)).attack.attacks == ("random", "mad")


def test_a_policy_that_draws_nothing_is_measured_in_action_units_and_has_no_certified_return(population):
    drawn = SPEC.of(population)
    assert (drawn.certification.units, drawn.returned.return_episodes) == ("dense", 60)
    still = SPEC.of(changed(population, log_std=jnp.full((2, 1), -100.0)))
    assert (still.certification.units, still.returned.return_episodes) == ("action", 0)
    # 60 clean episodes and 5 attacked ones of 32 steps less, for each of two members
    assert drawn.certification_steps(population) - still.certification_steps(population) == 2 * 32 * 65


def test_attackers_are_learned_only_where_a_search_is_asked_for(population):
    assert SPEC.of(population).attack.learned == ()
    search = AuditSpec(eps="0.1", search="quick", steps=4096).of(population)
    assert search.attack.attacks == ("random", "critic", "mad", "sarsa", "sarsa+mad", "sa-rl", "pa-ad")
    adversaries = np.size(EFFORTS["quick"].adversaries.learning_rate)
    assert search.attack.training_steps == adversaries * 4096
    # two kinds of adversary of two members
    assert search.steps(population) - SPEC.of(population).steps(population) > 2 * 2 * adversaries * 4096


def test_a_search_that_is_not_known_is_refused():
    with pytest.raises(SpecError, match=r"search: unknown name 'xyz'\. Known: off, published"):
        AuditSpec(search="xyz")


def test_a_number_that_nothing_would_use_is_refused():
    with pytest.raises(SpecError, match=r"^steps: nothing is learned with search off"):
        AuditSpec(steps=4096)
    with pytest.raises(SpecError, match=r"^return_eps: no returns are certified with return_episodes 0"):
        AuditSpec(return_episodes=0, return_eps=0.01)
    assert AuditSpec(search="quick", steps=4096).steps == 4096
