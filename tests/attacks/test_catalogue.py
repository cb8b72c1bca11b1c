"""The list of attacks: names, what each needs, and what is refused."""

import pytest

from jaxprune.attacks import (
    ATTACKS,
    CRITICS,
    NOTHING,
    TRAINING,
    Attack,
    RenamedWarning,
    Rule,
    add,
    check_names,
    current_name,
    make,
    ready,
)
from jaxprune.attacks.none import Nothing
from jaxprune.errors import SpecError
from tests.attacks.victims import every_attack


def test_a_rule_carries_the_name_it_is_asked_by():
    for name, rule in zip(ATTACKS, every_attack(0), strict=True):
        assert rule.name == ATTACKS[name].name == name
        assert isinstance(rule, Rule)
        assert ATTACKS[name].about


@pytest.mark.parametrize("name", ready(NOTHING))
def test_what_needs_nothing_is_made_at_once(name):
    assert make(name).name == name


@pytest.mark.parametrize("name", (*ready(CRITICS), *ready(TRAINING)))
def test_what_must_be_learned_is_not(name):
    with pytest.raises(SpecError, match=f"'{name.replace('+', '.')}' must be learned for each victim"):
        make(name)


def test_every_attack_needs_something_of_the_three():
    assert {*ready(NOTHING), *ready(CRITICS), *ready(TRAINING)} == set(ATTACKS)


def test_an_unknown_name_gets_the_nearest_one():
    with pytest.raises(SpecError, match=r"attack: unknown name 'madd'; did you mean 'mad'\?"):
        make("madd")
    with pytest.raises(SpecError, match="did you mean 'sa-rl'"):
        check_names(("mad", "sarl"))


@pytest.mark.parametrize(("former", "now"), [("optimal", "sa-rl"), ("director", "pa-ad")])
def test_a_former_name_is_read_with_a_hint(former, now):
    with pytest.warns(RenamedWarning, match=f"'{former}' is now called '{now}'"):
        assert current_name(former) == now
    assert current_name(now) == now


def test_a_name_is_listed_once(monkeypatch):
    monkeypatch.setattr("jaxprune.attacks.catalogue.ATTACKS", dict(ATTACKS))
    with pytest.raises(SpecError, match="'mad' is listed already"):
        add(Attack("mad", "again", Nothing))
    with pytest.raises(SpecError, match="needs: unknown name 'luck'"):
        add(Attack("lucky", "never", Nothing, needs="luck"))
