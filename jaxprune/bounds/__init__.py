"""Certificates: sound upper bounds on how far a policy, and its return, can be moved.

Every bound takes one network (`policy.Layers`), where it is local also one normalised observation `x`, and
the radius `eps` of the ball of what may be shown instead, `s_hat`; `norm` and `activation` are static names.
It returns a `Change`; the caller vmaps. For a Gaussian policy pass `in_std_units(layers, std)` and read
`change.euclidean`, its `delta`; for a softmax policy pass the layers that give the logits and read
`change.span`. `BOUNDS` lists them all, and `add` lists another one.
"""

from jaxprune.bounds.activations import CERTIFIABLE, Activation, activation_named
from jaxprune.bounds.alpha_crown import alpha_crown_bound
from jaxprune.bounds.band import crossing_probability, local_level, survival_limits
from jaxprune.bounds.branching import branching_bound
from jaxprune.bounds.catalogue import (
    BOUNDS,
    Bound,
    add,
    asked,
    at_every_state,
    at_one_state,
    is_monotone,
    local_names,
)
from jaxprune.bounds.change import Box, Change, change_from_box, intersect, tightest
from jaxprune.bounds.composition import (
    Chosen,
    Episodes,
    chosen_probability,
    filter_curve,
    filter_mean,
    filter_probability,
    in_blocks,
    kl_gap,
)
from jaxprune.bounds.crown import crown_bound, squared_crown_bound
from jaxprune.bounds.crown_ibp import crown_ibp_box
from jaxprune.bounds.divergence import (
    categorical_kl,
    categorical_kl_bound,
    categorical_shift_bound,
    categorical_tv,
    categorical_tv_bound,
    gaussian_kl,
    gaussian_tv,
)
from jaxprune.bounds.eclipse import eclipse_bound
from jaxprune.bounds.evaluation_error import evaluation_error
from jaxprune.bounds.fixed_sequence import largest_radius
from jaxprune.bounds.frobenius import frobenius_product
from jaxprune.bounds.induced import induced_inf_product, induced_one_product
from jaxprune.bounds.interval import interval_bound, interval_box
from jaxprune.bounds.jacobian import jacobian_bound
from jaxprune.bounds.network import check_finite, forward, in_std_units
from jaxprune.bounds.path import path_bound
from jaxprune.bounds.smoothing import (
    CertifiedAction,
    certified_action,
    certified_mean_return,
    certified_return_probability,
    certified_vote,
    episodes_needed,
    largest_budget,
    votes_needed,
)
from jaxprune.bounds.spectral import absolute_spectral_product, spectral_norm, spectral_product
from jaxprune.bounds.tangent import Tangents, chosen_mean, mean_limits, tangent_mean, tangents
from jaxprune.bounds.value import (
    ValueGap,
    discounted_value_gap,
    episodes_for_a_limit,
    expected_tv_limit,
    horizon_value_gap,
    mean_upper_limit,
)

__all__ = [
    "BOUNDS",
    "CERTIFIABLE",
    "Activation",
    "Bound",
    "Box",
    "CertifiedAction",
    "Change",
    "Chosen",
    "Episodes",
    "Tangents",
    "ValueGap",
    "absolute_spectral_product",
    "activation_named",
    "add",
    "alpha_crown_bound",
    "asked",
    "at_every_state",
    "at_one_state",
    "branching_bound",
    "categorical_kl",
    "categorical_kl_bound",
    "categorical_shift_bound",
    "categorical_tv",
    "categorical_tv_bound",
    "certified_action",
    "certified_mean_return",
    "certified_return_probability",
    "certified_vote",
    "change_from_box",
    "check_finite",
    "chosen_mean",
    "chosen_probability",
    "crossing_probability",
    "crown_bound",
    "crown_ibp_box",
    "discounted_value_gap",
    "eclipse_bound",
    "episodes_for_a_limit",
    "episodes_needed",
    "evaluation_error",
    "expected_tv_limit",
    "filter_curve",
    "filter_mean",
    "filter_probability",
    "forward",
    "frobenius_product",
    "gaussian_kl",
    "gaussian_tv",
    "horizon_value_gap",
    "in_blocks",
    "in_std_units",
    "induced_inf_product",
    "induced_one_product",
    "intersect",
    "interval_bound",
    "interval_box",
    "is_monotone",
    "jacobian_bound",
    "kl_gap",
    "largest_budget",
    "largest_radius",
    "local_level",
    "local_names",
    "mean_limits",
    "mean_upper_limit",
    "path_bound",
    "spectral_norm",
    "spectral_product",
    "squared_crown_bound",
    "survival_limits",
    "tangent_mean",
    "tangents",
    "tightest",
    "votes_needed",
]
