import io

import polars as pl
import pytest

from jaxprune.report import open_console
from jaxprune.report.audit import (
    alarm_lines,
    balls_coincide,
    bound_table,
    change_table,
    distrust_lines,
    diverged_lines,
    smoothing_lines,
    smoothing_table,
    sparsity_table,
    theorem_line,
    tight_lines,
    votes_table,
)
from jaxprune.report.console import WIDTH
from tests.report.page import folders

ROW = {
    "norm": "linf",
    "space": "normalised",
    "eps": 0.1,
    "quantity": "delta",
    "monotone": False,
    "states": 20,
    "members": 2,
    "seeds": 2,
}


def above(tightest, found, proven, ratio=1.5, ball="own"):
    """A row per bound x sparsity; `tightest` and `found` are the states above at 0.5 and 0.9, of 20."""
    return pl.DataFrame(
        [
            ROW
            | {
                "ball": ball,
                "bound": bound,
                "kind": "bound" if bound == "tightest" else "estimate",
                "sparsity_asked": sparsity,
                "states_above": count,
                "members_above": min(count, 1),
                "states_below": 10 - count,
                "share_above": count / 20,
                "share_above_low": max(0.0, count / 20 - 0.1),
                "share_above_high": count / 20 + 0.1,
                "share_below": (10 - count) / 20,
                "proven_above": proven if bound == "tightest" else None,
                "proven_below": 2 * proven if bound == "tightest" else None,
                "members_proven_above": min(proven, 1) if bound == "tightest" else None,
                "members_proven_below": min(proven, 2) if bound == "tightest" else None,
                "largest_ratio": ratio * sparsity if ratio else None,
            }
            for bound, counts in (("tightest", tightest), ("mad", found))
            for sparsity, count in zip((0.5, 0.9), counts, strict=True)
        ],
        schema_overrides={"largest_ratio": pl.Float64},
    )


def test_the_tight_verdict_says_how_often_how_much_and_where():
    tight, attack, worse, better = tight_lines(above((5, 1), (8, 2), 3), post_hoc=True)
    assert "the tightest bound rose in the mean over states for 2 of 4 pruned policies" in tight
    assert "at 5% to 25% of a policy's states by sparsity, at sparsity 0.9 at 5% (fell at 45%" in tight
    assert "mean over 2 seeds, 95 % interval 0%..15%)" in tight
    assert "at worst 1.35-fold, at sparsity 0.9" in tight
    assert "largest distance found rose in the mean" in attack and "at 10% to 40%" in attack
    assert worse.startswith("in 2 of 4 pruned policies (6 states within them)")
    assert worse.endswith("there pruning has made the policy less robust for sure")
    assert better.startswith("in 4 of 4 pruned policies (12 states within them)")
    assert better.endswith("there pruning has made the policy more robust for sure")


def test_of_policies_trained_separately_nothing_is_said_about_pruning_as_the_cause():
    *_, worse, better = tight_lines(above((5, 1), (8, 2), 3), post_hoc=False)
    assert "there this policy moves further at this state" in worse
    assert "there this policy moves less far at this state" in better
    for line in (worse, better):
        assert "for sure" not in line and "trained separately" in line


def test_one_seed_has_no_interval_in_words():
    alone = above((5, 1), (8, 2), 0).with_columns(
        pl.lit(None, pl.Float64).alias("share_above_low"), seeds=pl.lit(1, pl.Int64)
    )
    tight, _ = tight_lines(alone, post_hoc=True)
    assert "(fell at 45%; one seed)" in tight


def printed(table):
    console = open_console(io.StringIO())
    console.width = 3 * WIDTH  # nothing is cut or wrapped to fit
    console.print(table)
    text = console.file.getvalue().splitlines()
    assert max(len(line.rstrip()) for line in text) <= WIDTH
    return text


def test_both_balls_stand_side_by_side_in_a_row_per_sparsity():
    both = pl.concat([above((5, 1), (8, 2), 3), above((0, 10), (4, 4), 0, ball="dense")])
    lines = printed(change_table(both))
    rows = [line.split() for line in lines]
    assert ["0.50", "2", "-", "25%/25%", "40%/10%", "3/6", "-", "0%/50%", "20%/30%", "0/0"] in rows
    assert ["0.90", "2", "-", "5%/45%", "10%/40%", "3/6", "-", "50%/0%", "20%/30%", "0/0"] in rows
    assert any(line.split() == ["own"] * 4 + ["dense"] * 4 for line in lines)
    monotone = [
        above((5, 1), (8, 2), 3)
        .filter(bound="tightest")
        .with_columns(bound=pl.lit(name), monotone=pl.lit(True), share_above=pl.lit(share))
        for name, share in (("path", 0.1), ("frobenius", 0.3), ("spectral", 0.2))
    ]
    lines = printed(change_table(pl.concat([both.filter(ball="own"), *monotone])))
    assert ["0.50", "2", "30%", "25%/25%", "40%/10%", "3/6"] in [line.split() for line in lines]
    verdicts = tight_lines(both, post_hoc=True)
    assert [line.split(":")[0] for line in verdicts if line.startswith("tight verdict")] == [
        "tight verdict, the policy's own ball",
        "tight verdict, the dense twin's raw ball",
    ]


def test_the_widest_numbers_fit():
    wide = pl.concat(
        [above((20, 20), (20, 20), 4000, 1e-9 * scale, ball) for ball, scale in (("own", 1), ("dense", 2))]
    ).with_columns(monotone=pl.col("bound") == "mad", share_below=pl.lit(0.0))
    long = wide.with_columns(bound=pl.when("monotone").then(pl.lit("absolute_spectral")).otherwise("bound"))
    same = {"value": 1.2345e-9, "found": 1e5, "member": 1}
    members = long.with_columns(**{name: pl.lit(value) for name, value in same.items()})
    printed(bound_table(members, long))
    printed(change_table(wide))


def test_what_never_rose_and_what_rose_from_zero_is_said():
    never = tight_lines(above((0, 0), (0, 0), 0), post_hoc=True)[0]
    assert "rose at none of 40 states of 4 pruned policies" in never
    assert "at worst from zero" in tight_lines(above((1, 0), (1, 0), 0, ratio=None), post_hoc=True)[1]


def test_without_a_dense_member_nothing_is_compared():
    (line,) = tight_lines(above((1, 1), (1, 1), 0).clear(), post_hoc=True)
    assert "no pruned member has a dense twin" in line


def seen(member, state, value, found, bound="crown", ball="own", kind="bound"):
    return {"member": member, "state": state, "value": value, "found": found, "bound": bound} | {
        "ball": ball,
        "kind": kind,
    }


def test_one_unsound_bound_at_one_state_raises_the_alarm_and_the_worst_is_named():
    sound = [seen(0, 0, 2.0, 1.0), seen(0, 1, 1.0, 1.0), seen(1, 0, 0.5, 1.0, "mad", kind="estimate")]
    assert alarm_lines(pl.DataFrame(sound)) == []
    wrong = [seen(2, 7, 1.0, 1.1), seen(3, 4, 0.5, 2.0, "eclipse", "dense")]
    (line,) = alarm_lines(pl.DataFrame([*sound, *wrong]))
    assert line.startswith("WRONG: 2 bounds")
    assert "eclipse of member 3 at state 4 in the ball dense: 0.5, found 2" in line


def test_a_bound_of_zero_below_what_was_found_is_the_worst():
    (line,) = alarm_lines(pl.DataFrame([seen(0, 0, 1.0, 9.0), seen(1, 2, 0.0, 1e-6, "path")]))
    assert "path of member 1 at state 2" in line


def test_who_diverged_is_named():
    members = pl.DataFrame(
        {
            "member": [0, 1, 1],
            "seed": [0, 0, 0],
            "sparsity_asked": [0.0, 0.9, 0.9],
            "diverged": [False, True, True],
        }
    )
    (line,) = diverged_lines(members)
    assert line.startswith("DIVERGED") and line.endswith("members 1 (seed 0, sparsity 0.9)")
    assert diverged_lines(members.filter(~pl.col("diverged"))) == []


def test_the_balls_coincide_where_every_value_does():
    own = pl.DataFrame({"ball": "own", "member": [0, 1], "bound": "crown", "value": [1.0, 2.0], "found": 0.5})
    dense = own.with_columns(ball=pl.lit("dense"))
    assert balls_coincide(pl.concat([own, dense.reverse()]))
    assert balls_coincide(own)
    assert not balls_coincide(pl.concat([own, dense.with_columns(value=pl.col("value") * 1.1)]))


def smoothed(sparsities, certified):
    common = {"sigma": 0.2, "budget": 0.2, "confidence": 0.95, "simultaneous": 6, "episodes": 100}
    return pl.DataFrame(
        [
            common
            | {
                "member": member,
                "sparsity_asked": sparsity,
                "return_mean": 1800.0,
                "lowest": 0.0,
                "share_below_lowest": 0.125,
                "mean_max_lowest": 1810.0,
                "certified_mean_max_lowest": limit,
                "threshold": 900.0,
                "certified_probability": 0.5,
                "audited_budget": 7.87,
                "audited_over_budget": 39.3,
            }
            for member, (sparsity, limit) in enumerate(zip(sparsities, certified, strict=True))
        ]
    )


def test_smoothed_limits_are_put_beside_the_audited_ball_and_the_best_is_named():
    table = smoothed((0.0, 0.5, 0.9), (800.0, 1200.0, 700.0))
    budgets, best = smoothing_lines(table)
    assert "0.200 in l2 over an episode" in budgets and "amounts to 7.87, 39.3 times as much" in budgets
    assert "pruned 1200 (member 1, sparsity 0.5), dense 800 (member 0, sparsity 0)" in best
    assert "max(R, 0)" in best
    text = "\n".join(printed(smoothing_table(table)))
    assert "all 6 hold together with confidence 0.95" in " ".join(text.split())
    assert "12.5%" in text and "max(R, 0)" in text


@pytest.mark.parametrize(("factor", "said"), [(1.0, "no mask ever raised"), (2.0, "which is a DEFECT")])
def test_the_theorem_is_checked_not_believed(synthetic, factor, said):
    table = synthetic.certificates(1)
    raised = pl.when(pl.col("bound") == "path").then(pl.col("unmasked") * factor).otherwise("value")
    line = theorem_line(table.with_columns(value=raised))
    assert said in line
    assert "28 cases" in line  # 2 monotone bounds x 7 pruned members x 2 budgets


def test_the_theorem_is_checked_in_action_units_where_policies_are_deterministic(synthetic):
    table = synthetic.certificates(1).filter(pl.col("quantity") == "delta")
    infinite = table.with_columns(value=pl.lit(float("inf")), unmasked=pl.lit(float("inf")))
    line = theorem_line(pl.concat([infinite, table.with_columns(quantity=pl.lit("delta_action"))]))
    assert "no mask ever raised" in line and "28 cases" in line


def test_the_theorem_is_not_claimed_for_bounds_that_are_infinite_anyway(synthetic):
    infinite = synthetic.certificates(1).with_columns(
        value=pl.lit(float("inf")), unmasked=pl.lit(float("inf"))
    )
    assert "not checked" in theorem_line(infinite)


# --- tables by hand -------------------------------------------------------------------------------------


def rows_of(table):
    return [line.split() for line in printed(table)]


def test_a_row_of_bounds_is_the_mean_over_all_policies_whatever_their_sparsity():
    """Two policies at 0.5 and six at 0.9: (2 x 25 % + 6 x 5 %) / 8 rose, (2 x 25 % + 6 x 45 %) / 8 fell."""
    against = above((5, 1), (8, 2), 3).with_columns(members=pl.when(sparsity_asked=0.5).then(2).otherwise(6))
    same = {"ball": "own", "found": 2.0}
    members = pl.DataFrame(
        [
            same | {"member": member, "sparsity_asked": asked, "bound": bound, "value": value}
            for member, asked, value in ((0, 0.0, 4.0), (1, 0.5, 3.0), (2, 0.9, 2.0))
            for bound in ("tightest", "mad")
        ]
    )
    table = bound_table(members, against)
    assert "mean of 2 policies" in table.title
    tightest, mad = (row for row in rows_of(table) if row[:1] in (["tightest"], ["mad"]))
    assert tightest == ["tightest", "1.50", "10%/40%", "2/4", "1.35"]
    assert mad[3] == "-"  # an attack proves nothing by itself


def test_a_row_of_a_sparsity_has_the_smallest_monotone_bound_and_what_is_vacuous_in_all(synthetic):
    tables = folders.bounds(synthetic)
    larger = tables["members"].filter(bound="path").with_columns(value=3 * pl.col("value"), bound=pl.lit("z"))
    members = pl.concat([tables["members"], larger])
    row = ["0.50", *["4.00", "2.00", "1.00"] * 2, "-", "2.3e+06"]
    told = rows_of(sparsity_table(members, tables["certificates"], tables["returns"]))
    assert [*row, "vacuous", "8.00"] in told
    some = tables["certificates"].with_columns(vacuous=pl.col("vacuous") & (pl.col("eps") == 0.075))
    assert [*row, "8.00"] in rows_of(sparsity_table(members, some, tables["returns"]))


def test_votes_are_counted_by_state():
    votes = pl.DataFrame(
        {
            "sparsity_asked": [0.0, 0.0, 0.5, 0.5, 0.5],
            "radius": [0.5, 0.0, 0.25, 0.5, 0.0],
            "dense_radius": [0.5, 0.0, 0.5, 0.5, 0.75],
            "action": [1, 2, 1, 2, 0],
            "dense_action": [1, 2, 1, 2, 2],
        }
    ).with_columns(sigma=pl.lit(0.25), votes=pl.lit(900), confidence=pl.lit(0.99))
    table = votes_table(votes)
    assert "sigma 0.25" in table.title and "900 votes per state, confidence 0.99" in table.title
    told = rows_of(table)
    assert ["0.00", "2", "1", "0.250", "0", "0"] in told
    assert ["0.50", "3", "2", "0.250", "1", "2"] in told


def test_how_sure_value_gaps_are_and_how_many_are_vacuous_is_said(synthetic):
    tables = folders.bounds(synthetic)
    gaps = tables["certificates"].with_columns(vacuous=pl.col("vacuous") & (pl.col("sparsity_asked") == 0.5))
    lines = distrust_lines(tables["members"], gaps, 0.999)
    # Two gaps of eight members at two budgets.
    assert "value gaps hold with confidence 0.999 over the episodes; 4 of 32 are vacuous" in lines
    assert not any("estimates" in line for line in lines)
    one = gaps.with_columns(
        kind=pl.when(bound="value_gap", member=3).then(pl.lit("estimate")).otherwise("kind")
    )
    assert distrust_lines(tables["members"], one, 0.95)[-1].startswith("the task does not bound its reward")
