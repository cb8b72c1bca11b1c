"""Balls that are none: refused where the radius is known, without a bound where it is not."""

import jax
import jax.numpy as jnp
import pytest

from jaxprune.bounds import BOUNDS
from jaxprune.errors import SpecError
from tests.bounds.cases import random_case

LAYERS, X, _ = random_case(jax.random.key(0), (3, 4, 2))
WHERE = {name: (X,) if bound.local else () for name, bound in BOUNDS.items()}
"""What each bound takes between the network and the radius."""


@pytest.mark.parametrize(
    ("eps", "norm", "said"),
    [
        (-0.1, "linf", "eps: got -0.1, needs a radius of at least 0"),
        (float("nan"), "l2", "eps: got nan, needs a radius of at least 0"),
        (jnp.array([0.1, -0.1, 0.1]), "linf", "needs a radius of at least 0"),
        (jnp.array([0.1, 0.1, 0.1]), "l2", "the l2 ball has one radius, not one per feature"),
        (0.1, "l1", "norm: unknown name 'l1'.* Known: l2, linf"),
    ],
)
@pytest.mark.parametrize("name", BOUNDS)
def test_every_bound_refuses_what_is_no_ball(name, eps, norm, said):
    with pytest.raises(SpecError, match=said):
        BOUNDS[name](LAYERS, *WHERE[name], eps, norm=norm)


@pytest.mark.parametrize("name", BOUNDS)
def test_a_negative_radius_in_a_compiled_program_gives_no_bound(name):
    compiled = jax.jit(lambda eps: BOUNDS[name](LAYERS, *WHERE[name], eps))
    assert not jnp.any(jnp.isfinite(jnp.stack(compiled(jnp.float32(-0.1)))))
