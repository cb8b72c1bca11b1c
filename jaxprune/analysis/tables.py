"""The tables of sweeps and audits: their columns, and what makes a table unfit for analysis."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import polars as pl

CLEAN = "none"
"""The name in the column `attack` of the rows without an adversary; their `eps` is 0."""

FAMILY = ("task", "physics", "arm", "schedule", "score", "scope")
"""What members must share for a comparison between their sparsities to be about sparsity alone."""

BUDGET = ("norm", "space", "eps")
"""What an adversary may do: the radius `eps` of the ball, its norm, and the space in which it lives."""

RESULTS = pl.Schema(
    {
        "member": pl.Int64(),
        "task": pl.String(),
        "physics": pl.String(),
        "arm": pl.String(),
        "schedule": pl.String(),
        "score": pl.String(),
        "scope": pl.String(),
        "seed": pl.Int64(),
        "sparsity_asked": pl.Float64(),
        "sparsity": pl.Float64(),
        "attack": pl.String(),
        "norm": pl.String(),
        "space": pl.String(),
        "eps": pl.Float64(),
        "episodes": pl.Int64(),
        "return_mean": pl.Float64(),
        "return_std": pl.Float64(),
        "return_min": pl.Float64(),
        "return_median": pl.Float64(),
        "length_mean": pl.Float64(),
        "failed": pl.Int64(),
        "outside_ball": pl.Int64(),
        "attackers_tried": pl.Int64(),
        "selection_mean": pl.Float64(),
        "policy": pl.String(),
        "charge": pl.String(),
        "diverged": pl.Boolean(),
    }
)
"""One row per member x attack x budget. `failed` counts episodes that ended on non-finite physics,
`outside_ball` perturbations that left the ball (0 unless an attack is wrong). `selection_mean` is the mean
return on other episodes, on which the strongest attack is chosen; `return_mean` is on fresh ones. `policy` is
`mode` (the deterministic policy) or `sampled` (the stochastic one). `charge` says which action the reward's
effort is charged for, `clipped` or `raw`. `diverged` marks a member whose training left the finite numbers:
it is frozen where it was last finite, and kept out of means and verdicts."""

CERTIFICATES = pl.Schema(
    {
        "member": pl.Int64(),
        "arm": pl.String(),
        "seed": pl.Int64(),
        "sparsity_asked": pl.Float64(),
        "sparsity": pl.Float64(),
        "eps": pl.Float64(),
        "norm": pl.String(),
        "space": pl.String(),
        "bound": pl.String(),
        "quantity": pl.String(),
        "monotone": pl.Boolean(),
        "kind": pl.String(),
        "arithmetic": pl.String(),
        "value": pl.Float64(),
        "unmasked": pl.Float64(),
        "vacuous": pl.Boolean(),
        "policy": pl.String(),
        "confidence": pl.Float64(),
        "violated": pl.Int64(),
        "diverged": pl.Boolean(),
    }
)
"""One row per member x budget x bound x quantity. `quantity` is what is bounded: a distance between the
policy and itself under attack (`delta`, or `range` for categorical policies), `tv`, `return`...; `kind` is
`bound` (sound) or `estimate` (anything else, such as the largest value an attack found). `unmasked` is the
value for the same weights without their mask, null where it was not computed; `vacuous` is null where the
word has no meaning. An infinite `value` is a bound like any other; NaN is not. `policy` names the policy
whose episodes and returns the row is about (`sampled` or `mode`). `confidence` is null for what holds without
one. `violated` counts the states at which an attack found more than the bound allows: anything but 0 is a
defect; null where nothing was compared."""

STATES = pl.Schema(
    {
        "member": pl.Int64(),
        "arm": pl.String(),
        "seed": pl.Int64(),
        "sparsity_asked": pl.Float64(),
        "sparsity": pl.Float64(),
        "state": pl.Int64(),
        "eps": pl.Float64(),
        "norm": pl.String(),
        "space": pl.String(),
        "bound": pl.String(),
        "quantity": pl.String(),
        "monotone": pl.Boolean(),
        "kind": pl.String(),
        "arithmetic": pl.String(),
        "value": pl.Float64(),
        "tv": pl.Float64(),
        "kl": pl.Float64(),
        "found": pl.Float64(),
        "tightness": pl.Float64(),
        "dense": pl.Float64(),
        "dense_found": pl.Float64(),
        "ball": pl.String(),
        "diverged": pl.Boolean(),
    }
)
"""One row per member x state x bound. A state has the same number, and is the same, for all members of a
seed. `value` bounds the distance between the policy and itself under attack there (`kind` `bound`), or is the
largest that an attack found (`estimate`), which `found` repeats beside every bound; `tightness` is value over
found, null where nothing was found. `dense` and `dense_found` are those of the dense twin, null without one.
`ball` is `own` (eps in the member's own normalised units) or `dense` (the same raw ball as the dense twin's).
`tv` and `kl` (in nats) are the total variation and the divergence that `value` amounts to, null where it
fixes neither."""

CURVES = pl.Schema(
    {
        "member": pl.Int64(),
        "arm": pl.String(),
        "seed": pl.Int64(),
        "sparsity_asked": pl.Float64(),
        "iteration": pl.Int64(),
        "env_steps": pl.Int64(),
        "return_mean": pl.Float64(),
        "length_mean": pl.Float64(),
        "sparsity": pl.Float64(),
        "policy_loss": pl.Float64(),
        "value_loss": pl.Float64(),
        "entropy": pl.Float64(),
        "kl": pl.Float64(),
        "clip_fraction": pl.Float64(),
        "failed": pl.Int64(),
        "diverged": pl.Boolean(),
    }
)
"""One row per member x training iteration. The training statistics may be null or NaN: no episode may have
ended in an iteration, and a loss may have diverged."""

LAYERS = pl.Schema(
    {
        "member": pl.Int64(),
        "arm": pl.String(),
        "seed": pl.Int64(),
        "sparsity_asked": pl.Float64(),
        "network": pl.String(),
        "layer": pl.Int64(),
        "zeros": pl.Int64(),
        "size": pl.Int64(),
        "diverged": pl.Boolean(),
    }
)
"""One row per member x layer: how many of the `size` prunable weights of that layer, counted from 0 at the
input, are exactly zero. `network` is `policy`, or `value` where that is pruned as well."""

SHIFTS = pl.Schema(
    {
        "member": pl.Int64(),
        "task": pl.String(),
        "physics": pl.String(),
        "arm": pl.String(),
        "seed": pl.Int64(),
        "sparsity_asked": pl.Float64(),
        "sparsity": pl.Float64(),
        "parameter": pl.String(),
        "factor": pl.Float64(),
        "point": pl.Int64(),
        "mass": pl.Float64(),
        "friction": pl.Float64(),
        "gravity": pl.Float64(),
        "damping": pl.Float64(),
        "gear": pl.Float64(),
        "episodes": pl.Int64(),
        "return_mean": pl.Float64(),
        "return_std": pl.Float64(),
        "return_min": pl.Float64(),
        "return_median": pl.Float64(),
        "length_mean": pl.Float64(),
        "failed": pl.Int64(),
        "policy": pl.String(),
        "charge": pl.String(),
        "diverged": pl.Boolean(),
    }
)
"""One row per member x parameter x factor, and one per member x joint draw: clean episodes of a body whose
constants are multiplied by `mass`, ..., `gear`. `parameter` is the one that is shifted, by `factor`; or
`nominal` (nothing is, `factor` 1) or `joint` (all are, `factor` null). `point` numbers the sets of factors, 0
being the nominal one; a factor of 1 is the same point whatever the parameter, and its rows repeat it. All
points share their start states. `failed` counts episodes that ended on non-finite physics."""

SHIFT_SUMMARY = pl.Schema(
    {
        "member": pl.Int64(),
        "arm": pl.String(),
        "seed": pl.Int64(),
        "sparsity_asked": pl.Float64(),
        "sparsity": pl.Float64(),
        "points": pl.Int64(),
        "nominal": pl.Float64(),
        "mean": pl.Float64(),
        "quantile_10": pl.Float64(),
        "worst": pl.Float64(),
        "worst_point": pl.Int64(),
        "diverged": pl.Boolean(),
    }
)
"""One row per member: its mean return at the nominal point, and the mean, the 10 % quantile and the smallest
of its mean returns at all `points` of the table `shifts`, where `worst_point` is found."""

RUNGS = pl.Schema(
    {
        "member": pl.Int64(),
        "attack": pl.String(),
        "rung": pl.Int64(),
        "attacker": pl.Int64(),
        "steps": pl.Int64(),
        "episodes": pl.String(),
        "return_mean": pl.Float64(),
        "return_first": pl.Float64(),
        "return_second": pl.Float64(),
    }
)
"""One row per member x attack x rung x attacker that got there, in an attack search. `steps` of training lie
behind the attacker. `episodes` are the ones it was measured on: those of the rung, which reported numbers are
never taken from, or at the last rung those of the selection. `return_first` and `return_second` are the means
over one half of them each, so that what is chosen on one half can be measured on the other."""

EFFORT = pl.Schema(
    {
        "member": pl.Int64(),
        "attack": pl.String(),
        "steps": pl.Int64(),
        "total_steps": pl.Int64(),
        "attackers": pl.Int64(),
        "return_mean": pl.Float64(),
        "return_low": pl.Float64(),
        "return_high": pl.Float64(),
        "extrapolated": pl.Boolean(),
    }
)
"""One row per member x attack x rung of an attack search: what the strongest adversary found after `steps` of
training each, `total_steps` all together, leaves of the return. `attackers` were still in training. The rows
that are `extrapolated` say what twice the steps would bring."""

TRANSFER = pl.Schema(
    {
        "arm": pl.String(),
        "seed": pl.Int64(),
        "attack": pl.String(),
        "from_member": pl.Int64(),
        "to_member": pl.Int64(),
        "from_sparsity": pl.Float64(),
        "to_sparsity": pl.Float64(),
        "episodes": pl.Int64(),
        "return_mean": pl.Float64(),
        "return_low": pl.Float64(),
        "return_high": pl.Float64(),
        "outside_ball": pl.Int64(),
    }
)
"""One row per learned attack x ordered pair of members of one seed and arm: the return on fresh episodes that
`to_member` keeps under the attacker chosen for `from_member`, with a Student interval over the episodes."""


@dataclass(frozen=True)
class _Rules:
    """What `validate` holds a table to."""

    schema: Mapping[str, object]  # a pl.Schema, which beartype cannot read as a hint
    key: tuple[str, ...]  # no two rows agree on these
    may_be_missing: frozenset[str]  # columns that may hold null or NaN


_RULES = {
    "results": _Rules(RESULTS, ("member", "attack", *BUDGET, "policy"), frozenset()),
    "certificates": _Rules(
        CERTIFICATES,
        ("member", *BUDGET, "bound", "quantity", "kind", "policy"),
        frozenset({"unmasked", "vacuous", "confidence", "violated"}),
    ),
    "states": _Rules(
        STATES,
        ("member", "state", *BUDGET, "bound", "ball"),
        frozenset({"tv", "kl", "tightness", "dense", "dense_found"}),
    ),
    "curves": _Rules(
        CURVES,
        ("member", "iteration"),
        frozenset(
            {
                "return_mean",
                "length_mean",
                "policy_loss",
                "value_loss",
                "entropy",
                "kl",
                "clip_fraction",
            }
        ),
    ),
    "layers": _Rules(LAYERS, ("member", "network", "layer"), frozenset()),
    "shifts": _Rules(SHIFTS, ("member", "parameter", "point"), frozenset({"factor"})),
    "shift_summary": _Rules(SHIFT_SUMMARY, ("member",), frozenset()),
}


def validate(
    table: pl.DataFrame,
    name: Literal["results", "certificates", "states", "curves", "layers", "shifts", "shift_summary"],
) -> pl.DataFrame:
    """`table` itself, if it is a well-formed table of that name.

    Raises:
        ValueError: a column is missing, unknown or of another type; a value is null or NaN where a number is
            needed; or two rows have the same key.
    """
    rules = _RULES[name]
    _check_columns(table, name, rules.schema)
    for column in rules.schema.keys() - rules.may_be_missing:
        _check_complete(table, name, column)
    repeated = table.filter(table.select(rules.key).is_duplicated()).select(rules.key)
    if not repeated.is_empty():
        raise ValueError(
            f"{name}: {repeated.height} rows share a key, the first is {repeated.row(0, named=True)}; "
            "each may appear once"
        )
    return table


def _check_columns(table: pl.DataFrame, name: str, schema: Mapping[str, object]) -> None:
    missing = [column for column in schema if column not in table.columns]
    unknown = [column for column in table.columns if column not in schema]
    if missing or unknown:
        raise ValueError(f"{name}: missing columns {missing}, unknown columns {unknown}")
    for column, dtype in schema.items():
        if table.schema[column] != dtype:
            raise ValueError(
                f"{name}.{column}: type {table.schema[column]}, expected {dtype}; "
                f"build the table with schema=jaxprune.analysis.{name.upper()}"
            )


def _check_complete(table: pl.DataFrame, name: str, column: str) -> None:
    values = table[column]
    absent = values.is_null() | values.is_nan() if values.dtype.is_float() else values.is_null()
    if absent.any():
        members = table.filter(absent)["member"].unique().sort().to_list()
        raise ValueError(
            f"{name}.{column}: {absent.sum()} values are null or NaN (members {members}); "
            "give a number or leave these members out"
        )


def family_of(results: pl.DataFrame) -> dict[str, str]:
    """The `FAMILY` columns of a table that holds one family only.

    Raises:
        ValueError: the table is empty or mixes families, which a figure or a summary must not.
    """
    families = results.select(FAMILY).unique(maintain_order=True)
    if families.height != 1:
        raise ValueError(
            f"results: {families.height} combinations of {', '.join(FAMILY)} where one is needed; "
            f"split the table with results.partition_by({list(FAMILY)})"
        )
    return families.row(0, named=True)
