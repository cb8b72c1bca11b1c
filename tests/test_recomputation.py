"""One whole run recomputed from its folder: weights, spec and seeds in, every number of every table out.

The sweep is what the command line makes of it in a process of its own. Nothing below is computed by the
library: `tests/recomputation/` says each thing once more in NumPy, MuJoCo's own loop and plain Python, and
what was drawn is drawn again from the seeds (`chance.py` says how every key is derived).

Two runs, so that both norms, both spaces, both scopes and pruning during and after the training are met.
"""

import copy
import subprocess
import sys
from collections.abc import Callable
from functools import cached_property

import numpy as np
import pytest

from tests.recomputation import certificates, expected, folder
from tests.recomputation.expected import Expected, Played, disagreements

pytestmark = pytest.mark.slow

COMMON = [
    *("--env", "hopper", "--physics", "native", "--environments", "8", "--unroll", "64", "--epochs", "2"),
    *("--minibatches", "4", "--learning-rate", "0.003", "--selection-episodes", "2"),
    *("--certify-episodes", "4"),
]
RUNS = {
    "six seeds, pruned afterwards, l2 ball of raw observations": [
        *("--seeds", "6", "--sparsities", "0,0.5", "--schedule", "posthoc", "--hidden", "16", "16"),
        *("--steps", "2048", "--episodes", "2", "--eps", "0.1,0.3", "--norm", "l2", "--space", "raw"),
        *("--attacks", "random,mad", "--discount", "0.9"),
    ],
    "one seed, pruned in training, l_inf ball of normalised observations": [
        *("--sparsities", "0.05,0", "--scope", "global", "--charge", "raw", "--shared-filter"),
        *("--hidden", "12", "8", "--steps", "5120", "--episodes", "3", "--eps", "0.25,0.5"),
        *("--attacks", "random"),
    ],
}
SIX_SEEDS, ONE_SEED = RUNS


class Recomputed:
    """A run, what it printed, and what its tables must hold; each table is made when first asked for."""

    def __init__(self, run: folder.Run, printed: str):
        self.run, self.printed = run, printed

    @cached_property
    def played(self) -> list[Played]:
        return expected.play(self.run)

    @cached_property
    def episodes(self) -> Expected:
        return expected.episodes(self.run, self.played)

    @cached_property
    def sampled(self) -> Expected:
        return expected.sampled(self.run, self.played)

    @cached_property
    def certificates(self) -> Expected:
        return certificates.certificates(self.run, self.played)

    @cached_property
    def results(self) -> Expected:
        return expected.results(self.run)

    @cached_property
    def regret(self) -> Expected:
        return expected.regret(self.run)

    @cached_property
    def verdicts(self) -> Expected:
        return expected.verdicts(self.run)

    def rows(self, table: str) -> list[folder.Row]:
        rows = self.run.tables[table]
        if table == "episodes":
            rows = [row for row in rows if row["attack"] != "mad"]  # see test_mad
        return rows

    def wrong(self, table: str, rows: list[folder.Row] | None = None) -> list[str]:
        return disagreements(table, rows or self.rows(table), getattr(self, table))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Recomputed]:
    """Each of the runs, made when first asked for."""
    known: dict[str, Recomputed] = {}

    def make(name: str) -> Recomputed:
        if name not in known:
            out = tmp_path_factory.mktemp("runs") / "run"
            command = [sys.executable, "-m", "experiments.sweep", *COMMON, *RUNS[name], "--out", str(out)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            known[name] = Recomputed(folder.read(out), " ".join(done.stdout.split()))
        return known[name]

    return make


@pytest.fixture(scope="module", params=RUNS)
def it(request: pytest.FixtureRequest, made: Callable[[str], Recomputed]) -> Recomputed:
    return made(request.param)


@pytest.fixture(scope="module")
def six_seeds(made: Callable[[str], Recomputed]) -> Recomputed:
    return made(SIX_SEEDS)


def test_population(it: Recomputed) -> None:
    """As many zeros as asked for; pruned afterwards, they are at the smallest weights of each layer."""
    spec = it.run.spec
    for member, (agent, whole) in enumerate(zip(it.run.agents, it.run.unmasked, strict=True)):
        sparsity = it.run.sparsity(member)
        masks = [weight != 0 for weight, _ in agent.layers]
        for mask, (weight, bias), (all_weights, all_biases) in zip(
            masks, agent.layers, whole.layers, strict=True
        ):
            np.testing.assert_array_equal(weight, all_weights * mask)
            np.testing.assert_array_equal(bias, all_biases)
            assert (all_weights != 0).all()
            if spec["schedule"] == "posthoc":
                size = np.abs(all_weights)
                assert (~mask).sum() == round(sparsity * mask.size)
                assert not (~mask).any() or size[~mask].max() < size[mask].min()
        zeros, weights = (sum(counts) for counts in zip(*(((~m).sum(), m.size) for m in masks), strict=True))
        if spec["scope"] == "global":
            assert zeros == round(sparsity * weights)
        twin = it.run.agents[it.run.dense_twin(member)]
        if spec["shared_filter"]:
            np.testing.assert_array_equal(agent.mean, twin.mean)
            np.testing.assert_array_equal(agent.std, twin.std)


def test_episodes(it: Recomputed) -> None:
    """Clean returns and those under random noise, step by step in MuJoCo."""
    assert it.wrong("episodes") == []


def test_mad(six_seeds: Recomputed) -> None:
    """Nineteen of twenty episodes of the attack that climbs; see `expected.PLAYED` for the others."""
    of_mad = expected.episodes(six_seeds.run, six_seeds.played, ("mad",))
    rows = [row for row in six_seeds.run.tables["episodes"] if row["attack"] == "mad"]
    wrong = disagreements("episodes", rows, of_mad)
    assert len(of_mad) == len(rows) == 12 * 2 * 4
    assert len(wrong) <= len(rows) // 20, wrong


def test_sampled(it: Recomputed) -> None:
    """The episodes of sampled actions, whose states the certificates are about."""
    assert it.wrong("sampled") == []


def test_certificates(it: Recomputed) -> None:
    """Every bound at every visited state, masked and not, in three units, and what follows from it."""
    assert it.wrong("certificates") == []


def test_results(it: Recomputed) -> None:
    assert it.wrong("results") == []


def test_regret(it: Recomputed) -> None:
    """The three terms, under every attack and the strongest."""
    assert it.wrong("regret") == []


def test_verdicts(six_seeds: Recomputed) -> None:
    """Sweet spots by brute force over the flips of signs; the summary says the same."""
    assert six_seeds.wrong("verdicts") == []
    for eps in six_seeds.run.spec["eps"]:
        of_budget = {k[2]: row["verdict"] for k, row in six_seeds.verdicts.items() if k[:2] == (False, eps)}
        sentence = six_seeds.printed.split(f"eps = {eps:g} (l2 norm, raw observations): ")[1].split(" - eps")[
            0
        ]
        assert ("sweet spot" in sentence) == ("sweet" in of_budget.values())
        assert ("worse than dense under attack" in sentence) == ("worse" in of_budget.values())
        shown = set(of_budget.values()) & {"sweet", "worse"}
        assert ("no effect of pruning shown" in sentence) == (not shown)


def test_curves(it: Recomputed) -> None:
    """The last iteration has the sparsity of the members that come out of it."""
    spec, after = it.run.spec, it.run.spec["schedule"] == "posthoc"
    per_iteration = spec["environments"] * spec["unroll"]
    last = [row for row in it.run.tables["curves"] if row["iteration"] == spec["steps"] // per_iteration]
    assert len(last) == spec["seeds"] * (1 if after else len(spec["sparsities"]))
    for row in last:
        right = 0 if after else expected.achieved(it.run.agents[int(row["member"])])
        assert row["sparsity"] == pytest.approx(right, abs=1e-6)
        assert row["env_steps"] == spec["steps"]


FAULTS = [
    ("episodes", {"attack": "none"}, "return"),
    ("episodes", {"attack": "random", "eps": 0.3}, "return"),
    ("episodes", {"attack": "random", "eps": 0.1}, "length"),
    ("sampled", {}, "return_mean"),
    ("results", {"attack": "mad"}, "return_mean"),
    ("results", {"attack": "mad", "eps": 0.3}, "selection_mean"),
    ("results", {"sparsity_asked": 0.5}, "sparsity"),
    *(("certificates", {"bound": bound, "quantity": "delta"}, "value") for bound in ("frobenius", "path")),
    *(("certificates", {"bound": bound, "quantity": "delta"}, "unmasked") for bound in ("interval", "crown")),
    ("certificates", {"bound": "crown", "quantity": "delta_dense", "sparsity_asked": 0.5}, "value"),
    ("certificates", {"bound": "mad", "quantity": "delta"}, "value"),
    ("certificates", {"bound": "tightest", "quantity": "tv"}, "value"),
    *(
        ("regret", {"attack": "strongest", "sparsity_asked": 0.5}, term)
        for term in ("best_return", "clean_regret", "pruning_loss", "robustness_gap", "total")
    ),
    ("regret", {"attack": "strongest", "sparsity_asked": 0.5}, "robustness_gain"),
    ("regret", {"attack": "random"}, "normalised_attacked"),
    *(("certificates", {"quantity": what}, "value") for what in ("tv_limit", "return", "tv_dense")),
    *(("verdicts", {"placebo": False}, number) for number in ("attacked_p", "clean_p", "attacked_low")),
    ("verdicts", {"placebo": True}, "clean_difference"),
]  # fmt: skip


@pytest.mark.parametrize(("table", "where", "column"), FAULTS)
@pytest.mark.parametrize("factor", [0.99, 1.01])
def test_one_number_off_by_one_percent_is_seen(
    six_seeds: Recomputed, table: str, where: dict, column: str, factor: float
) -> None:
    rows = copy.deepcopy(six_seeds.rows(table))
    row = [row for row in rows if all(row[name] == value for name, value in where.items())][-1]
    assert row[column] != 0
    row[column] *= factor
    assert len(six_seeds.wrong(table, rows)) == 1


def test_a_row_that_is_missing_or_of_another_attack_is_seen(six_seeds: Recomputed) -> None:
    rows = copy.deepcopy(six_seeds.rows("results"))
    assert len(six_seeds.wrong("results", rows[1:])) == 1
    first, second = (row for row in rows if row["member"] == 3 and row["eps"] == 0.3)
    first["attack"], second["attack"] = second["attack"], first["attack"]
    assert six_seeds.wrong("results", rows)
