"""Asking for an attack: names, lists and budgets."""

import numpy as np
import pytest

from jaxprune.attacks import ATTACKS, Attack, check_budget, make, make_all
from jaxprune.errors import SpecError


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_carries_the_name_it_is_asked_by(name):
    attack = make(name)
    assert attack.name == name
    assert isinstance(attack, Attack)


def test_an_unknown_name_gets_the_nearest_one():
    with pytest.raises(SpecError, match=r"attack: unknown name 'madd'; did you mean 'mad'\?"):
        make("madd")


def test_a_list_keeps_its_order_and_may_not_be_empty():
    assert [attack.name for attack in make_all(["mad", "none"])] == ["mad", "none"]
    with pytest.raises(SpecError, match="empty"):
        make_all([])


@pytest.mark.parametrize("eps", [0, 0.1, [0.1, 0.0, 3.0], np.full(3, 0.2)])
def test_a_radius_fits(eps):
    check_budget(eps, 3)


@pytest.mark.parametrize(
    ("eps", "norm", "message"),
    [
        (-0.1, "linf", "finite and >= 0"),
        ([0.1, -0.1, 0.1], "linf", "finite and >= 0"),
        (float("nan"), "linf", "finite and >= 0"),
        (float("inf"), "linf", "finite and >= 0"),
        ([0.1, 0.2], "linf", "2 numbers for an observation of 3 features"),
        ([[0.1, 0.2, 0.3]], "linf", "3 features"),
        ([0.1, 0.2, 0.3], "l2", "one radius"),
        (0.1, "l3", "unknown name 'l3'"),
    ],
)
def test_no_radius(eps, norm, message):
    with pytest.raises(SpecError, match=message):
        check_budget(eps, 3, norm)
