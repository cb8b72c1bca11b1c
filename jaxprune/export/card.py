"""A policy card: in Markdown, what is known of a policy, and what its certificates are about."""

from collections.abc import Iterator
from typing import Any

import polars as pl

from jaxprune.bounds import local_names
from jaxprune.report.attacked_returns import beside_blocks, under_mad
from jaxprune.report.numbers import number, percent

QUANTITIES = {
    "delta": "shift of the mean, in the policy's standard deviations",
    "delta_action": "shift of the mean, in units of the action",
    "range": "span of the change of the logits",
    "tv_limit": "F: total variation, expected over the states visited",
    "return": "what an adversary can cost",
}
"""The quantities that a card shows, in words. Others compare a policy with another one."""

UNITS = {"normalised": "standard deviations of the observation", "raw": "raw units of the observation"}


def card(
    about: dict[str, Any],
    results: pl.DataFrame | None,
    certificates: pl.DataFrame | None,
    attacked_returns: pl.DataFrame | None,
) -> str:
    """The card. about: what the JSON beside the policy says. The tables are of this policy alone."""
    command = f"python -m experiments.certify --agent policy.safetensors --env {about.get('task') or 'TASK'}"
    lines = ["# Policy card", "", *_facts(about), "", "## Returns", "", *_returns(results)]
    lines += ["", "## Certified returns", "", *_certified_returns(attacked_returns, command)]
    lines += ["", "## Certificates", "", *_certificates(certificates, command)]
    return "\n".join(lines) + "\n"


def _facts(about: dict[str, Any]) -> Iterator[str]:
    sizes = (about["observation_size"], *about["hidden"], about["action_size"])
    yield f"- network: {' x '.join(map(str, sizes))}, {about['activation']}; {_head(about)}"
    clip = "not clipped" if about["clip"] is None else f"clipped to ±{about['clip']:g}"
    yield f"- observation filter: included, {clip}"
    yield f"- sparsity: {about['sparsity']:.1%} of its weights are exactly zero"
    for name in ("task", "physics", "arm", "seed", "sparsity_asked", "source"):
        if about.get(name) is not None:
            yield f"- {name.replace('_', ' ')}: {about[name]}"
    made = about["provenance"]
    yield f"- written by: `{made['command']}`, jaxprune {made['versions']['jaxprune']}"


def _head(about: dict[str, Any]) -> str:
    if about["head"] == "categorical":
        return "logits of discrete actions"
    if about["squash"] is None:
        return "mean of the action, which the task clips"
    low, high = about["squash"]
    return (
        f"tanh squashes its output u to actions in [{low:g}, {high:g}]. A bound on the change of u is one on "
        "the change of the action in halves of that range, for tanh has a slope of at most 1"
    )


def _returns(results: pl.DataFrame | None) -> Iterator[str]:
    if results is None:
        yield "Not measured by what wrote this card."
        return
    yield "Raw undiscounted returns of the deterministic policy, every attack in its ball at every step."
    yield ""
    yield "| attack | attackers | eps | norm | space | episodes | mean | standard deviation | diverged |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in results.iter_rows(named=True):
        ball = (number(row["eps"]), row["norm"], row["space"])
        played = (str(row["episodes"]), number(row["return_mean"]), number(row["return_std"]))
        tried = str(row["attackers_tried"])
        yield _row(row["attack"], tried, *ball, *played, "yes" if row["diverged"] else "no")


def _certified_returns(limits: pl.DataFrame | None, command: str) -> Iterator[str]:
    """Lower limits on what is left of the return under every attack, by radius."""
    limits = None if limits is None else limits.filter(~pl.col("diverged"))
    if limits is None or limits.is_empty():
        yield (
            f"None was computed. `{command} --return-episodes 200` does it, for a policy that draws its "
            "actions; a deterministic one has none."
        )
        return
    first = limits.row(0, named=True)
    alike = limits["std"].n_unique() == 1
    drawn = "" if first["std"] == 1 else f" with {first['std']:g} times its standard deviation"
    if not alike:
        drawn = ", at each radius with so many times its standard deviation as the table says"
    yield (
        f"Lower limits on E[max(R, {number(first['lowest'])})] of the **stochastic** policy, which draws its "
        f"actions{drawn}; they say nothing of the deterministic one. At every step an adversary of any kind "
        "may show it whatever is within eps of what is true, in the norm and space named. All "
        f"{first['simultaneous']} limits of the run hold together with confidence {first['confidence']:g}, "
        f"by {first['episodes']} episodes each that chose nothing, arithmetic: {first['arithmetic']}. MAD is "
        "one such adversary, so what it leaves is an estimate from above."
    )
    yield ""
    attacked = under_mad(limits)
    means = {
        **({} if alike else {"std": "times its std"}),
        "mean_max_lowest": "clean mean",
        "certified_mean": "certified",
        "certified_blocks": "certified by blocks",
        **{column: name for name, column in beside_blocks(limits).items()},
        attacked: "under MAD" if attacked != "attacked_mean" else "under MAD, of R",
    }
    yield _row("eps", "norm", "space", *means.values(), "MAD episodes")
    yield "|---" * (4 + len(means)) + "|"
    for row in limits.sort("eps").iter_rows(named=True):
        found = (number(row[name]) for name in means)
        yield _row(f"{row['eps']:g}", row["norm"], row["space"], *found, str(row["attacked_episodes"]))


def _certificates(certificates: pl.DataFrame | None, command: str) -> Iterator[str]:
    shown = None if certificates is None else certificates.filter(pl.col("quantity").is_in(list(QUANTITIES)))
    if shown is None or shown.is_empty():
        yield f"None. `{command}` makes some."
        return
    yield (
        "What is shown to the policy may differ from what is true by at most eps in the norm named. A "
        "`bound` is sound, in the arithmetic named; an `estimate` is not. Shifts by "
        f"{', '.join(local_names())} and `mad`, the largest that an attack found, are means over states that "
        "the policy visits; by the others they hold everywhere. F and returns are about the policy that "
        "draws its actions."
    )
    for (eps, norm, space), rows in shown.group_by("eps", "norm", "space", maintain_order=True):
        yield ""
        yield f"### eps {eps:g}, {norm}, in {UNITS[str(space)]}"
        yield ""
        yield "| what | by | value | kind | arithmetic | confidence | vacuous |"
        yield "|---|---|---|---|---|---|---|"
        for row in rows.iter_rows(named=True):
            sure = "" if row["confidence"] is None else percent(row["confidence"])
            told = {None: "", True: "yes", False: "no"}[row["vacuous"]]
            value, what = number(row["value"]), QUANTITIES[row["quantity"]]
            yield _row(what, row["bound"], value, row["kind"], row["arithmetic"], sure, told)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
