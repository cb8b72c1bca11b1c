"""Certificates: sound upper bounds on how far a policy, and its return, can be moved.

Every bound takes one network (`Layers`), where it is local also one state, and the radius `eps` of the ball;
`norm` and `activation` are static names. It returns a `Change`; the caller vmaps. For a Gaussian policy
pass `in_std_units(layers, std)` and read `change.euclidean`, its `delta`; for a softmax policy pass the
layers that give the logits and read `change.span`.
"""

from jaxprune.bounds.activations import ACTIVATIONS, Activation, activation_named
from jaxprune.bounds.branching import branching_bound
from jaxprune.bounds.change import Box, Change, change_from_box, intersect, tightest
from jaxprune.bounds.crown import alpha_crown_bound, crown_bound
from jaxprune.bounds.divergence import (
    categorical_kl,
    categorical_kl_bound,
    categorical_tv,
    categorical_tv_bound,
    gaussian_kl,
    gaussian_tv,
)
from jaxprune.bounds.evaluation_error import evaluation_error
from jaxprune.bounds.interval import interval_bound, interval_box
from jaxprune.bounds.jacobian import jacobian_bound
from jaxprune.bounds.lipschitz import eclipse_bound, spectral_norm, spectral_product
from jaxprune.bounds.network import Layer, Layers, check_finite, forward, in_std_units
from jaxprune.bounds.norms import (
    absolute_spectral_product,
    frobenius_product,
    induced_inf_product,
    induced_one_product,
    path_bound,
)
from jaxprune.bounds.smoothing import (
    CertifiedAction,
    certified_action,
    certified_mean_return,
    certified_return_probability,
    certified_vote,
    episodes_needed,
    votes_needed,
)
from jaxprune.bounds.value import (
    ValueGap,
    discounted_value_gap,
    episodes_for_a_limit,
    expected_tv_limit,
    horizon_value_gap,
    mean_upper_limit,
)

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "Box",
    "CertifiedAction",
    "Change",
    "Layer",
    "Layers",
    "ValueGap",
    "absolute_spectral_product",
    "activation_named",
    "alpha_crown_bound",
    "branching_bound",
    "categorical_kl",
    "categorical_kl_bound",
    "categorical_tv",
    "categorical_tv_bound",
    "certified_action",
    "certified_mean_return",
    "certified_return_probability",
    "certified_vote",
    "change_from_box",
    "check_finite",
    "crown_bound",
    "discounted_value_gap",
    "eclipse_bound",
    "episodes_for_a_limit",
    "episodes_needed",
    "evaluation_error",
    "expected_tv_limit",
    "forward",
    "frobenius_product",
    "gaussian_kl",
    "gaussian_tv",
    "horizon_value_gap",
    "in_std_units",
    "induced_inf_product",
    "induced_one_product",
    "intersect",
    "interval_bound",
    "interval_box",
    "jacobian_bound",
    "mean_upper_limit",
    "path_bound",
    "spectral_norm",
    "spectral_product",
    "tightest",
    "votes_needed",
]
