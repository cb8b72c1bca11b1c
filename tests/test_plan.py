import re

from jaxprune.analysis import SPREADS, detectable_difference
from jaxprune.plan import smallest_difference
from jaxprune.spec import SweepSpec


def said(**spec):
    return smallest_difference(SweepSpec(**spec))


def test_too_few_seeds_give_no_verdict():
    assert said(seeds=1) == "none: 1 seed gives no verdict, 6 are needed"
    assert said(seeds=5).startswith("none: 5 seeds give no verdict, 6")


def test_arms_share_the_error_as_they_do_in_the_verdicts():
    assert said(seeds=6, arms="ppo,sa-convex") == "none: 6 seeds give no verdict, 7 are needed"
    alone, shared = (detectable_difference(7, 2, alpha=0.05 / arms) for arms in (1, 2))
    assert alone < shared
    assert f"from {shared:.1f} standard" in said(seeds=7, sparsities="0,0.5,0.9", arms="ppo,sa-convex")


def test_the_smallest_difference_is_that_of_the_test_with_all_sparsities_and_budgets():
    least = detectable_difference(7, 2, 2)
    text = said(env="hopper", seeds=7, sparsities="0,0.5,0.9", eps="0.05,0.1")
    assert f"with 7 seeds and 80 % power, attacked differences to dense from {least:.1f} standard" in text
    assert f"about {least * SPREADS['hopper'].attacked:.0f} of return" in text
    assert not re.search("of return", said(env="probe/linear", seeds=7, sparsities="0,0.5"))


def test_without_dense_members_there_is_nothing_to_compare_with():
    assert "sparsity 0" in said(seeds=7, sparsities="0.5,0.9")
    assert "sparsity 0" in said(seeds=7, sparsities="0")
