"""A made-up sweep that looks like Hopper: returns of 300 to 3000, less with sparsity and under attack."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from jaxprune.analysis import CERTIFICATES, CURVES, RESULTS

SPARSITIES = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
ATTACKS = {"random": 0.06, "critic": 0.22, "mad": 0.38, "pa-ad": 0.55}
"""The share of the return each attack takes from a dense policy at the larger eps."""
BOUNDS = {
    "frobenius": (True, "bound", 191.0, 2.0),
    "path": (True, "bound", 90.0, 4.0),
    "spectral": (False, "bound", 17.0, 1.8),
    "interval": (False, "bound", 22.0, 3.6),
    "found": (False, "estimate", 1.8, 1.6),
}
"""Monotone, kind, value for a dense policy at the larger eps, and how fast it falls with sparsity."""


def members(seeds):
    """(member, seed, sparsity) of every policy."""
    places = ((seed, sparsity) for seed in range(seeds) for sparsity in SPARSITIES)
    return [(member, *place) for member, place in enumerate(places)]


def results(seeds, budgets=(0.025, 0.075), attacks=ATTACKS, schedule="posthoc"):
    rng = np.random.default_rng(0)
    rows = []
    for member, seed, sparsity in members(seeds):
        clean = 2900 * (1 - 0.9 * max(0.0, sparsity - 0.5) ** 1.5 * 2) + rng.normal(0, 60)
        family = ("hopper", "mjx", "ppo", schedule, "magnitude", "layer", seed, sparsity, round(sparsity, 3))

        def row(attack, eps, mean, tried, place=(member, *family)):
            spread = 0.08 * mean
            numbers = (mean, spread, mean - 2 * spread, mean, mean / 3, 0, 0, tried, mean)
            return (*place, attack, "linf", "normalised", eps, 100, *numbers, "mode", "clipped", False)

        rows.append(row("none", 0.0, clean, 0))
        for eps in budgets:
            for attack, share in attacks.items():
                taken = share * eps / 0.075 * (1 - 0.8 * sparsity) + rng.normal(0, 0.02)
                rows.append(row(attack, eps, clean * (1 - taken), 1))
    return pl.DataFrame(rows, schema=RESULTS, orient="row")


def certificates(seeds, budgets=(0.025, 0.075)):
    rng = np.random.default_rng(1)
    rows = []
    for member, seed, sparsity in members(seeds):
        scale = np.exp(np.random.default_rng(seed).normal(0, 0.1))
        for eps in budgets:
            place = (member, "ppo", seed, sparsity, sparsity, eps, "linf", "normalised")
            for bound, (monotone, kind, dense, fall) in BOUNDS.items():
                wobble = 1.0 if monotone else np.exp(rng.normal(0, 0.15))
                value = scale * dense * eps / 0.075 * (1 - sparsity) ** (fall / 2) * wobble
                unmasked = scale * dense * eps / 0.075 if kind == "bound" else None
                rest = (value, unmasked, None, "sampled", None, 0, False)
                rows.append((*place, bound, "delta", monotone, kind, "float32", *rest))
            loss = ("return", False, "bound", "float32", 2.3e6, None, True, "sampled", 0.95, None, False)
            rows += [(*place, bound, *loss) for bound in ("value_gap", "horizon_gap")]
    return pl.DataFrame(rows, schema=CERTIFICATES, orient="row")


def curves(seeds, iterations=120):
    rng = np.random.default_rng(2)
    rows = []
    for member, seed, asked in members(seeds):
        top = 2900 * (1 - 0.5 * asked**2) * np.exp(rng.normal(0, 0.05))
        for iteration in range(iterations):
            progress = iteration / (iterations - 1)
            phase = float(np.clip((progress - 0.2) / 0.6, 0, 1))
            mean = top * (1 - np.exp(-4 * progress)) + rng.normal(0, 60) if iteration else float("nan")
            sparsity = asked * (1 - (1 - phase) ** 3)
            losses = (0.01, 30.0, 3.0, 0.005, 0.1, 0, False)
            who = (member, "ppo", seed, asked)
            rows.append((*who, iteration, 16384 * (iteration + 1), mean, mean / 3, sparsity, *losses))
    return pl.DataFrame(rows, schema=CURVES, orient="row")


@pytest.fixture(name="synthetic", scope="session")
def _synthetic():
    """The three tables as functions of the number of seeds."""
    return SimpleNamespace(results=results, certificates=certificates, curves=curves)
