"""Folders as commands leave them, of tables that were made up."""

import json
from pathlib import Path
from typing import Any

import polars as pl

from jaxprune.analysis import (
    EFFORT,
    LAYERS,
    SHIFTS,
    STATES,
    against_dense,
    at_the_same_states,
    decompose,
    shift_verdicts,
    summarise_shifts,
    sweet_spots,
)

VERSIONS = {"versions": {"jaxprune": "0.1.0"}, "commit": "abc"}
SPEC = {"env": "hopper", "seeds": 6, "arms": ["ppo"], "eps": "published", "verdict_error": None}


def write(folder: Path, about: str, content: dict[str, Any], tables: dict[str, pl.DataFrame]) -> Path:
    folder.mkdir(parents=True)
    (folder / about).write_text(json.dumps(content))
    for name, table in tables.items():
        table.write_parquet(folder / f"{name}.parquet")
    return folder


def layers(seeds: int) -> pl.DataFrame:
    """Two layers of 100 and 10 weights; the first loses its share, the second half of it."""
    sparsities = (0.0, 0.5, 0.9)
    rows = [
        (3 * seed + place, "ppo", seed, asked, "policy", layer, round(share * asked * size), size, False)
        for seed in range(seeds)
        for place, asked in enumerate(sparsities)
        for layer, (size, share) in enumerate(((100, 1.0), (10, 0.5)))
    ]
    return pl.DataFrame(rows, schema=LAYERS, orient="row")


def sweep(
    folder: Path, synthetic: Any, seeds: int = 6, arms: tuple[str, ...] = ("ppo",), **about: Any
) -> Path:
    """A finished sweep of these arms."""
    made = {
        "results": synthetic.results(seeds),
        "certificates": synthetic.certificates(seeds),
        "curves": synthetic.curves(seeds),
        "layers": layers(seeds),
    }
    count = made["results"]["member"].n_unique()
    tables = {
        name: pl.concat(
            [
                table.with_columns(pl.col("member") + place * count, arm=pl.lit(arm))
                for place, arm in enumerate(arms)
            ]
        )
        for name, table in made.items()
    }
    tables["regret"] = decompose(tables["results"])
    tables["verdicts"] = sweet_spots(tables["regret"])
    tables["episodes"] = tables["sampled"] = pl.DataFrame({"member": [0]})
    command = "python -m experiments.sweep --env hopper --seeds 6"
    return write(
        folder, "spec.json", {"format": 3, "spec": SPEC, "command": command, **VERSIONS, **about}, tables
    )


def huge(folder: Path, synthetic: Any, seeds: int = 125) -> Path:
    """A sweep of a thousand members, ten attacks and three budgets, of long training and many layers."""

    def of_all_seeds(table: pl.DataFrame, *values: str) -> pl.DataFrame:
        """The table of seed 0 for every seed; the values differ in all their digits."""
        members = table["member"].n_unique()
        own, each = pl.col("own"), pl.DataFrame({"own": range(seeds)})
        moved = {name: pl.col(name) * (1 + (own + 1).sqrt() / 100) for name in values}
        spread = table.join(each, how="cross").with_columns(
            pl.col("member") + members * own, seed=own, **moved
        )
        return spread.drop("own")

    attacks = {f"attack-{place}": 0.05 * place for place in range(10)}
    few = synthetic.results(1, budgets=(0.025, 0.05, 0.075), attacks=attacks)
    results = of_all_seeds(few, "return_mean", "return_std", "return_min", "return_median")
    tables = {
        "results": results,
        "certificates": of_all_seeds(synthetic.certificates(1), "value", "unmasked"),
        "curves": of_all_seeds(synthetic.curves(1, 500), "return_mean"),
        "layers": of_all_seeds(layers(1)),
        "regret": decompose(results),
        "verdicts": sweet_spots(decompose(synthetic.results(6))),
    }
    return write(folder, "spec.json", {"format": 3, "spec": SPEC, **VERSIONS}, tables)


def attack(folder: Path, synthetic: Any) -> Path:
    """A quick attack search on the members of a sweep, in rungs."""
    regret = decompose(attacked(synthetic, 6))
    tables = {
        **search(attacked(synthetic, 6)),
        "effort": pl.DataFrame(
            [
                (m, "sa-rl", steps, 9 * steps, 4, value, value - 1, value + 2, steps == 400)
                for m in (0, 1)
                for steps, value in ((100, 30.0), (200, 20.0), (400, 15.0))
            ],
            schema=EFFORT,
            orient="row",
        ),
        "regret": regret,
        "verdicts": sweet_spots(regret),
    }
    about = {"format": 3, "search": {"search": "quick", "attacks": ["sa-rl", "mad"]}, **VERSIONS}
    return write(folder, "attack.json", about, tables)


def attacked(synthetic: Any, seeds: int) -> pl.DataFrame:
    """Returns of every member under one of three adversaries, and under MAD."""
    results = synthetic.results(seeds, budgets=(0.075,), attacks={"sa-rl": 0.4, "mad": 0.3})
    searched = pl.when(pl.col("attack") == "sa-rl").then(3).otherwise("attackers_tried")
    return results.with_columns(attackers_tried=searched.cast(pl.Int64))


def search(results: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """The tables of an attack search that left these returns."""
    strong = results.filter(attack="mad").with_columns(attack=pl.lit("strongest"))
    fresh = pl.concat([results, strong]).with_columns(
        pl.lit("fresh").alias("episode_set"),
        found_by="attack",
        return_low=pl.col("return_mean") - 1,
        return_high=pl.col("return_mean") + 1,
        return_median_attacker="return_mean",
    )
    rows = pl.concat([fresh, fresh.with_columns(episode_set=pl.lit("selection"))])
    tried = [
        {"member": m, "attack": "sa-rl", "attacker": k, "best_of_first": 100.0 - 10 * k}
        for m in range(results["member"].n_unique())
        for k in range(3)
    ]
    who = ("arm", "seed", "task", "physics", "schedule", "score", "scope", "sparsity_asked")
    return {"results": rows.drop(who), "tried": pl.DataFrame(tried)}


def bounds(synthetic: Any) -> dict[str, pl.DataFrame]:
    """The tables of a certification of two policies of one seed, at two states."""
    values = {"path": (True, "bound", 8.0), "crown": (False, "bound", 4.0)}
    values |= {"tightest": (False, "bound", 4.0), "mad": (False, "estimate", 2.0)}
    rows = [
        {
            **{"member": member, "arm": "ppo", "seed": 0, "sparsity_asked": asked, "sparsity": asked},
            **{"state": state, "eps": 0.1, "norm": "linf", "space": "normalised", "bound": bound},
            **{"quantity": "delta", "monotone": monotone, "kind": kind, "arithmetic": "float32"},
            **{"value": value * (1 - asked), "found": 2 * (1 - asked), "dense": value, "dense_found": 2.0},
            **{"ball": ball, "diverged": False},
        }
        for member, asked in enumerate((0.0, 0.5))
        for state in range(2)
        for ball in ("own", "dense")
        for bound, (monotone, kind, value) in values.items()
    ]
    states = pl.DataFrame(rows, schema=STATES)
    returns = {"member": [0, 1], "arm": "ppo", "sparsity_asked": [0.0, 0.5], "policy": "sampled"}
    return {
        "states": states,
        "members": at_the_same_states(states),
        "audit": against_dense(states),
        "certificates": synthetic.certificates(1),
        "returns": pl.DataFrame({**returns, "return_mean": [9.0, 8.0], "diverged": False}),
    }


CERTIFIED = {"certification": {"confidence": 0.95}, "population": {"pruned_post_hoc": True}}


def certify(folder: Path, synthetic: Any) -> Path:
    """A certification of one policy, dense and pruned."""
    return write(folder, "certify.json", {"format": 3, **CERTIFIED, **VERSIONS}, bounds(synthetic))


def audit(folder: Path, synthetic: Any) -> Path:
    """An audit of one policy: what a certification and what an attack search leave."""
    tables = bounds(synthetic) | search(attacked(synthetic, 1))
    return write(folder, "audit.json", {"format": 3, "audit": {}, **CERTIFIED, **VERSIONS}, tables)


def shift(folder: Path) -> Path:
    """Six seeds under two factors of the mass: half of the return is gone where it is doubled."""
    family = {"task": "hopper", "physics": "native", "arm": "ppo"}
    rest = {"episodes": 4, "return_std": 1.0, "return_min": 0.0, "return_median": 1.0, "length_mean": 9.0}
    rows = [
        {
            **{
                "member": 2 * seed + place,
                **family,
                "seed": seed,
                "sparsity_asked": asked,
                "sparsity": asked,
            },
            **{"parameter": parameter, "factor": factor, "point": point},
            **dict.fromkeys(("mass", "friction", "gravity", "damping", "gear"), 1.0),
            **{**rest, "return_mean": (1000.0 + seed) / factor, "failed": 0, "policy": "mode"},
            **{"charge": "clipped", "diverged": False},
        }
        for seed in range(6)
        for place, asked in enumerate((0.0, 0.5))
        for parameter, factor, point in (("nominal", 1.0, 0), ("mass", 1.0, 0), ("mass", 2.0, 1))
    ]
    shifts = pl.DataFrame(rows, schema=SHIFTS)
    summary = summarise_shifts(shifts)
    tables = {"shifts": shifts, "shift_summary": summary, "shift_verdicts": shift_verdicts(summary)}
    about = {"format": 3, "shifts": {}, "population": {"verdict_error": 0.05}, **VERSIONS}
    return write(folder, "shift.json", about, tables)


def unfinished(folder: Path, synthetic: Any) -> Path:
    """A sweep that stopped in its training."""
    return write(
        folder, "spec.json", {"format": 3, "spec": SPEC, **VERSIONS}, {"curves": synthetic.curves(2)}
    )
