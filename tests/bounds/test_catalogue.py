"""The list of bounds: what a record says is so, and what a user may ask for."""

from dataclasses import replace
from inspect import signature

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprune.bounds import (
    BOUNDS,
    CERTIFIABLE,
    Bound,
    Change,
    add,
    asked,
    at_every_state,
    at_one_state,
    frobenius_product,
)
from jaxprune.errors import SpecError
from tests.bounds.cases import listed, random_case

LAYERS, X, _ = random_case(jax.random.key(2), (3, 4, 2))
COSTLY = {name: bound for name, bound in BOUNDS.items() if bound.effort is not None}


def test_every_record_goes_by_its_own_name_and_has_a_line_of_help():
    assert all(name == bound.name for name, bound in BOUNDS.items())
    assert all(bound.about and "\n" not in bound.about for bound in BOUNDS.values())
    assert not any(set(name) & set(":, ") for name in BOUNDS)  # they stand in a comma list


@pytest.mark.parametrize("name", [name for name, bound in BOUNDS.items() if not bound.local])
def test_a_bound_of_the_weights_is_monotone_if_their_signs_do_not_matter(name):
    """What is a function of `|W|` that grows with each entry can be raised by no mask."""
    sizes = tuple((jnp.abs(weight), bias) for weight, bias in LAYERS)
    signed, unsigned = BOUNDS[name](LAYERS, 0.1), BOUNDS[name](sizes, 0.1)
    assert np.allclose(signed, unsigned, rtol=1e-6) == BOUNDS[name].monotone


def test_bounds_at_one_state_are_not_called_monotone():
    assert not any(bound.monotone for bound in BOUNDS.values() if bound.local)


@pytest.mark.parametrize("activation", CERTIFIABLE)
def test_what_a_sweep_computes_is_cheap_and_holds_for_the_activation(activation):
    known = CERTIFIABLE[activation]
    expected = {name: b for name, b in BOUNDS.items() if b.holds_for(known)}
    everywhere, local = at_every_state(activation), at_one_state(activation)
    assert everywhere == {name: b for name, b in expected.items() if not b.local}
    assert local == {name: b for name, b in expected.items() if b.local and b.cheap}
    assert [*everywhere, *local] == [name for name in BOUNDS if name in everywhere or name in local]
    # Slopes of swish leave [0, 1], which ECLipsE cannot do with.
    assert ("eclipse" in everywhere) == (activation != "swish")


def test_costly_bounds_are_left_to_those_who_ask_for_them():
    assert COSTLY and not any(bound.cheap for bound in COSTLY.values())


@pytest.mark.parametrize("name", COSTLY)
def test_the_effort_reaches_the_rule_by_the_name_of_its_unit(name):
    bound = COSTLY[name]
    assert signature(bound.rule).parameters[bound.unit].default == bound.effort
    heard = []

    def rule(*given, **kind):
        heard.append((given, kind))
        return Change(jnp.zeros(()), jnp.zeros(()))

    replace(bound, effort=6, rule=rule)(LAYERS, X, 0.1, norm="l2")
    assert heard == [((LAYERS, X, 0.1), {"norm": "l2", bound.unit: 6})]


def test_a_name_can_be_listed_once():
    before, mine = dict(BOUNDS), Bound("mine", "half of nothing", frobenius_product)
    with listed(mine):
        assert [*BOUNDS] == [*before, "mine"] and BOUNDS["mine"] is mine
        with pytest.raises(SpecError, match="bound: 'mine' is listed already; give it another name"):
            add(mine)
        with pytest.raises(SpecError, match="'crown' is listed already"):
            add(replace(mine, name="crown"))
    assert before == BOUNDS


def test_names_and_efforts_are_read_and_written():
    assert asked("crown") is BOUNDS["crown"] and str(asked("crown")) == "crown"
    assert asked("crown").in_words() == "crown"
    for name, bound in COSTLY.items():
        assert asked(name) is bound
        more = asked(f"{name}:77")
        assert more == replace(bound, effort=77) and asked(str(more)) == more
        assert str(more) == f"{name}:77" and more.in_words() == f"{name} (77 {bound.unit})"
    assert asked("alpha-crown:50").in_words() == "alpha-crown (50 steps)"
    assert asked("branching:64").in_words() == "branching (64 parts)"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("crwn", "bounds: unknown name 'crwn'; did you mean 'crown'"),
        ("path", "bounds: unknown name 'path'"),  # it is there without being asked for
        ("crown:3", "bounds: 'crown' has no effort to choose, got '3'"),
        ("crown:", "bounds: 'crown' has no effort to choose, got ''"),
        *(
            (f"alpha-crown:{bad}", f"'alpha-crown' needs a whole number of steps from 1 .* got {bad!r}")
            for bad in ("0", "-1", "2.5", "many", "", "10001", "3:4")
        ),
        ("branching:0", "'branching' needs a whole number of parts from 1 .*, got '0'; .* branching:32"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_in_one_line(text, said):
    with pytest.raises(SpecError, match=said) as refused:
        asked(text)
    assert "\n" not in str(refused.value)
