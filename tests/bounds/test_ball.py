"""Balls that are none: refused where the radius is known, without a bound where it is not."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest

from jaxprune import bounds
from jaxprune.errors import SpecError
from tests.bounds.cases import random_case

OF_A_STATE = (
    bounds.interval_bound,
    bounds.jacobian_bound,
    bounds.crown_bound,
    bounds.alpha_crown_bound,
    bounds.branching_bound,
)
OF_WEIGHTS = (
    bounds.frobenius_product,
    bounds.induced_one_product,
    bounds.induced_inf_product,
    bounds.absolute_spectral_product,
    bounds.path_bound,
    bounds.spectral_product,
    bounds.eclipse_bound,
)
LAYERS, STATE, _ = random_case(jax.random.key(0), (3, 4, 2))
BOUNDS = [*OF_WEIGHTS, *(partial(bound, state=STATE) for bound in OF_A_STATE)]


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
@pytest.mark.parametrize("bound", BOUNDS)
def test_every_bound_refuses_what_is_no_ball(bound, eps, norm, said):
    with pytest.raises(SpecError, match=said):
        bound(LAYERS, eps=eps, norm=norm)


@pytest.mark.parametrize("bound", BOUNDS)
def test_a_negative_radius_in_a_compiled_program_gives_no_bound(bound):
    compiled = jax.jit(lambda eps: bound(LAYERS, eps=eps))
    assert not jnp.any(jnp.isfinite(jnp.stack(compiled(jnp.float32(-0.1)))))
