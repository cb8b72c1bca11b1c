"""Members of several runs that benchmarks look at together."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.victims import of_runs, some_of
from jaxprune import SpecError, envs
from jaxprune.budget import Budget
from jaxprune.population import Population
from tests import lines


def of_seed(seed):
    """An agent of `probe/linear` at three sparsities."""
    population = Population.of_pruned(lines.agent(), envs.make("probe/linear"), (0.0, 0.5, 0.9), Budget(0.1))
    return replace(population, members=replace(population.members, seed=np.full(3, seed)))


def test_members_are_chosen_by_sparsity_and_seed():
    everyone = of_runs([of_seed(seed) for seed in (3, 4, 5)])
    assert some_of(everyone).members.seed.tolist() == [3] * 3 + [4] * 3 + [5] * 3
    pruned = some_of(everyone, sparsities="0.9,0", seeds="4:6")
    assert pruned.members.seed.tolist() == [4, 4, 5, 5]
    assert pruned.members.sparsity.tolist() == [0.0, 0.9] * 2
    kept = np.asarray(pruned.agents.mask["layer_0"])
    np.testing.assert_array_equal(kept, np.asarray(everyone.agents.mask["layer_0"])[[3, 5, 6, 8]])


def test_none_of_the_members_is_refused():
    with pytest.raises(SpecError, match=r"no member has 0.7 and any; there are sparsities \[0.0, 0.5, 0.9\]"):
        some_of(of_seed(3), sparsities="0.7")
    with pytest.raises(SpecError, match=r"no member has any and 0:3; .* seeds \[3\]"):
        some_of(of_seed(3), seeds="0:3")
