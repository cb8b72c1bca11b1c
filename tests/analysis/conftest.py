"""Handmade tables as fixtures: a test writes down only what it is about."""

import polars as pl
import pytest

from jaxprune.analysis import CERTIFICATES, RESULTS, STATES

FAMILY = {
    "task": "hopper",
    "physics": "mjx",
    "arm": "ppo",
    "schedule": "posthoc",
    "score": "magnitude",
    "scope": "layer",
}


@pytest.fixture(name="results", scope="session")
def _results():
    return results


@pytest.fixture(name="certificates", scope="session")
def _certificates():
    return certificates


@pytest.fixture(name="states", scope="session")
def _states():
    return states


def results(members, eps=0.1, diverged=(), **family):
    """A table from `[(seed, sparsity, clean return, {attack: return}), ...]`, members numbered in order.

    A return may be a pair: measured, and on the episodes of selection, which are the same otherwise.
    """
    rows = []
    for member, (seed, sparsity, clean, attacked) in enumerate(members):
        for attack, value in {"none": clean, **attacked}.items():
            mean, selected = value if isinstance(value, tuple) else (value, value)
            rows.append(
                {
                    **FAMILY,
                    **family,
                    "member": member,
                    "seed": seed,
                    "sparsity_asked": sparsity,
                    "sparsity": sparsity,
                    "attack": attack,
                    "norm": "linf",
                    "space": "normalised",
                    "eps": 0.0 if attack == "none" else eps,
                    "episodes": 10,
                    "return_mean": float(mean),
                    "return_std": 1.0,
                    "return_min": float(mean) - 1,
                    "return_median": float(mean),
                    "length_mean": 100.0,
                    "failed": 0,
                    "outside_ball": 0,
                    "attackers_tried": 0 if attack == "none" else 2,
                    "selection_mean": float(selected),
                    "policy": "mode",
                    "charge": "clipped",
                    "diverged": member in diverged,
                }
            )
    return pl.DataFrame(rows, schema=RESULTS)


def certificates(rows):
    """A table from `[(seed, sparsity, bound, monotone, value), ...]`; a member is a seed and a sparsity.

    Without its mask every bound is 25.
    """
    places = sorted({row[:2] for row in rows})
    return pl.DataFrame(
        [
            {
                "member": places.index((seed, sparsity)),
                "arm": "ppo",
                "seed": seed,
                "sparsity_asked": sparsity,
                "sparsity": sparsity,
                "eps": 0.1,
                "norm": "linf",
                "space": "normalised",
                "bound": bound,
                "quantity": "delta",
                "monotone": monotone,
                "kind": "estimate" if bound == "found" else "bound",
                "arithmetic": "float32",
                "value": value,
                "unmasked": 25.0,
                "vacuous": None,
                "policy": "sampled",
                "confidence": None,
                "violated": 0,
                "diverged": False,
            }
            for seed, sparsity, bound, monotone, value in rows
        ],
        schema=CERTIFICATES,
    )


def states(rows):
    """A table from `[(seed, sparsity, bound, value per state, found per state), ...]`, as `certificates`."""
    places = sorted({row[:2] for row in rows})
    dense = {(seed, bound): both for seed, sparsity, bound, *both in rows if sparsity == 0}
    return pl.DataFrame(
        [
            {
                "member": places.index((seed, sparsity)),
                "arm": "ppo",
                "seed": seed,
                "sparsity_asked": sparsity,
                "sparsity": sparsity,
                "state": state,
                "eps": 0.1,
                "norm": "linf",
                "space": "normalised",
                "bound": bound,
                "quantity": "delta",
                "monotone": False,
                "kind": "bound",
                "arithmetic": "float32",
                "value": values[state],
                "found": found[state],
                "tightness": None,
                "dense": dense[seed, bound][0][state] if (seed, bound) in dense else None,
                "dense_found": dense[seed, bound][1][state] if (seed, bound) in dense else None,
                "ball": "own",
                "diverged": False,
            }
            for seed, sparsity, bound, values, found in rows
            for state in range(len(values))
        ],
        schema=STATES,
    )
