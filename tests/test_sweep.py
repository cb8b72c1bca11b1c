"""A sweep as a whole, on probe tasks that take milliseconds a step."""

import json
import os
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import jaxprune as jp
from jaxprune import checkpoint, envs, files, kept, tables
from jaxprune import job as jobs
from jaxprune import sweep as sweeps
from jaxprune.bounds import BOUNDS
from jaxprune.envs.probes import HORIZON
from jaxprune.population import environment
from jaxprune.progress import Meter, Update
from jaxprune.run_folder import RunFolder
from tests.compiled import as_users_compile

TABLES = ("results", "certificates", "curves", "regret", "verdicts", "episodes", "sampled", "layers")
SMALL = jp.SweepSpec(
    env="probe/linear",
    sparsities=(0.0, 0.5),
    steps=8 * 512,
    environments=8,
    unroll=64,
    epochs=2,
    minibatches=4,
    hidden=(16, 16),
    episodes=4,
    selection_episodes=3,
    certify_episodes=2,
)


@pytest.fixture(scope="module")
def small() -> jp.Sweep:
    return jp.sweep.run(SMALL)


def trained(spec: jp.SweepSpec) -> tuple[sweeps.Job, sweeps.Training]:
    job = sweeps.job(spec)
    with Meter() as meter:
        return job, sweeps.train(job, None, meter)


def played(spec: jp.SweepSpec) -> dict[str, pl.DataFrame]:
    """The tables that need no certificates."""
    job, training = trained(spec)
    population = sweeps.finished(job, training)
    with Meter() as meter:
        results = tables.results(spec, population, sweeps.evaluate(job, population, meter))
    return {"results": results, "curves": tables.curves(spec, job.trained, training.history)}


def test_results_have_one_row_per_member_attack_and_budget(small: jp.Sweep) -> None:
    rows = small.results.select("seed", "sparsity_asked", "attack", "eps").rows()
    assert rows == [
        (0, s, a, e) for s in (0.0, 0.5) for a, e in (("none", 0.0), ("random", 0.1), ("mad", 0.1))
    ]


def test_achieved_sparsity_is_exact(small: jp.Sweep) -> None:
    kernels = [layer["kernel"] for layer in small.population.agents.pruned().policy.values()]
    for member, asked in enumerate(SMALL.sparsities):
        zeros = [int((kernel[member] == 0).sum()) for kernel in kernels]
        assert zeros == [round(asked * kernel[member].size) for kernel in kernels]


def test_no_perturbation_leaves_its_ball(small: jp.Sweep) -> None:
    assert small.results["outside_ball"].sum() == 0


def test_the_regret_terms_add_up(small: jp.Sweep) -> None:
    parts = small.regret.select(pl.sum_horizontal("clean_regret", "pruning_loss", "robustness_gap"))
    np.testing.assert_allclose(parts.to_series(), small.regret["total"], rtol=1e-12)


def test_no_sound_bound_is_below_what_the_attack_found(small: jp.Sweep) -> None:
    delta = small.certificates.filter(pl.col("quantity") == "delta")
    found = delta.filter(pl.col("kind") == "estimate").select("member", found="value")
    bounds = delta.filter(pl.col("kind") == "bound").join(found, on="member")
    # All that hold for tanh and are cheap enough for a sweep.
    assert len(bounds) == 2 * len([bound for bound in BOUNDS.values() if bound.cheap])
    assert (bounds["value"] >= bounds["found"]).all()


def test_no_mask_raises_a_monotone_bound(small: jp.Sweep) -> None:
    monotone = small.certificates.filter(pl.col("monotone") & pl.col("unmasked").is_not_null())
    names = [name for name, bound in BOUNDS.items() if bound.monotone]
    assert len(monotone) == 2 * len(names) * 2  # members x bounds x units
    assert (monotone["value"] <= monotone["unmasked"]).all()


def test_the_same_spec_gives_the_same_tables(small: jp.Sweep) -> None:
    again = jp.sweep.run(SMALL)
    for name in TABLES:
        assert_frame_equal(getattr(again, name), getattr(small, name), check_exact=True)


def test_a_member_equals_its_solo_run(small: jp.Sweep) -> None:
    alone = played(replace(SMALL, sparsities=(0.5,)))
    among_sparsities = {name: getattr(small, name) for name in alone}
    among_seeds = played(replace(SMALL, seeds=2, sparsities=(0.5,)))
    row = pl.col("seed").eq(0) & pl.col("sparsity_asked").eq(0.5)
    for together in (among_sparsities, among_seeds):
        for name, column in (("results", "return_mean"), ("curves", "return_mean"), ("curves", "kl")):
            member, solo = together[name].filter(row)[column], alone[name][column]
            # Batched and single matrix products may round differently, and training carries that on.
            np.testing.assert_allclose(member, solo, rtol=1e-3, atol=1e-4)


def test_the_steps_that_are_planned_by_hand() -> None:
    """Three seeds at two sparsities: eight iterations of 8 x 64 steps; 1 + 2 x 2 cells of 4 + 3 episodes."""
    plan = sweeps.job(replace(SMALL, seeds=3, eps=(0.1, 0.2)))
    steps = (plan.training_steps, plan.evaluation_steps, plan.visit_steps, plan.shift_steps)
    assert steps == (6 * 8 * 512, 6 * 5 * 7 * HORIZON, 6 * 2 * HORIZON, 0)
    assert plan.steps == sum(steps)
    shifted = sweeps.job(replace(SMALL, env="hopper", shift_episodes=3))
    assert shifted.shift_steps == 2 * (1 + 5 * 6 + 64) * 3 * 1000  # members, points, episodes, horizon
    assert shifted.steps == 2 * (8 * 512 + (3 * 7 + 2) * 1000) + shifted.shift_steps


def test_one_trace_of_the_program_serves_the_whole_training(monkeypatch: pytest.MonkeyPatch) -> None:
    traced = []
    segment = sweeps.segment
    monkeypatch.setattr(sweeps, "segment", lambda *a: traced.append(1) or segment(*a))
    trained(SMALL)
    assert len(traced) == 1


def test_other_seeds_sparsities_and_leaves_do_not_recompile() -> None:
    job = sweeps.job(SMALL)
    # Donated as in a sweep, so that it is the same program.
    run = jax.jit(partial(sweeps.segment, job, 1), donate_argnums=0)
    training = run(sweeps.start(job))
    (learners,) = training.learners
    other = learners.replace(
        sparsity=jnp.array([0.3, 0.9]), hyper=learners.hyper.replace(learning_rate=jnp.array([1e-4, 1e-2]))
    )
    run(training.replace(learners=(other,)))
    assert run._cache_size() == 1


def test_a_run_stopped_after_a_checkpoint_ends_with_the_same_tables(
    tmp_path, small: jp.Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    def noted(path: Path, step: int, *what: Any) -> None:
        saved.append(step)
        save(path, step, *what)

    monkeypatch.setattr(sweeps, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    save, seen, saved = checkpoint.save, [], []
    monkeypatch.setattr(checkpoint, "save", noted)

    def stop(update: Update) -> None:
        seen.append(update)
        if len(seen) == 4:  # the beginning, and three iterations
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jp.sweep.run(SMALL, tmp_path / "run", stop)
    assert saved == [1, 2, 3]  # the last because of the stop
    monkeypatch.setattr(sweeps, "SECONDS_BETWEEN_CHECKPOINTS", 1e6)
    resumed = []
    result = jp.sweep.resume(tmp_path / "run", resumed.append)
    assert resumed[1].steps_done == seen[-1].steps_done * 4 // 3  # goes on with the fourth iteration
    assert saved[3:] == [8, 8]  # the end of the training, and its population
    for name in TABLES:
        assert_frame_equal(getattr(result, name), getattr(small, name), check_exact=True)


def test_every_member_is_told_of_before_it_is_certified_and_a_stop_is_heeded_there(small: jp.Sweep) -> None:
    """Of a thousand members certificates take longer than anybody waits."""
    job, seen, phases = sweeps.job(SMALL), [], []

    def stop(update: Update) -> None:
        seen.append((update.phase, update.steps_done))
        if update.phase == "certificates of member 2 of 2":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Meter(stop, phases.extend) as meter:
        _, visits = sweeps.visit(job, small.population, meter)
        sweeps.certify(job, small.population, visits, meter)
    assert seen[-2:] == [(f"certificates of member {member} of 2", job.steps) for member in (1, 2)]
    assert [phase.name for phase in phases] == ["visits", "certificates"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seeds": "7"}, "resume: seeds is 7, but the checkpoints in .* are of a run with 1;"),
        ({"learning_rate": 1e-4}, "resume: learning_rate is 0.0001, .* with 0.0003; remove them, or begin"),
        ({"hidden": (8,)}, r"resume: hidden is \[8\], .* with \[16, 16\]"),
    ],
    ids=lambda change: next(iter(change)) if isinstance(change, dict) else "",
)
def test_the_checkpoints_of_another_run_are_refused_with_the_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict, said: str
) -> None:
    """Those of the whole training, and those of one member trained for all of its seed."""
    monkeypatch.setattr(jobs, "STEPS_WORTH_A_PROGRAM", 0)
    job = sweeps.job(SMALL)
    for name, of in (("checkpoints", job), ("checkpoints-trunk", job.trunk)):
        begun = sweeps.start(of)
        checkpoint.save(tmp_path / name, int(begun.iteration), begun, sweeps._asked(of))
        folder = RunFolder.create(tmp_path / f"{name}-copied", replace(SMALL, **change), "none")
        shutil.copytree(tmp_path / name, folder.path / name)
        with pytest.raises(jp.SpecError, match=f"^{said}"):
            jp.sweep.resume(folder.path)
        assert not [*folder.path.glob("*.parquet")]


def test_posthoc_members_are_masks_of_one_dense_policy() -> None:
    job, training = trained(replace(SMALL, schedule="posthoc"))
    agents = sweeps.finished(job, training).agents.pruned()
    dense, pruned = (jax.tree.map(lambda leaf, i=i: leaf[i], agents) for i in range(2))
    for whole, part in zip(dense.policy.values(), pruned.policy.values(), strict=True):
        kept = part["kernel"] != 0
        np.testing.assert_array_equal(part["kernel"], np.where(kept, whole["kernel"], 0))
        assert np.abs(whole["kernel"][~kept]).max() <= np.abs(whole["kernel"][kept]).min()
    curves = tables.curves(job.spec, job.trained, training.history)
    assert curves["member"].unique().to_list() == [0]


@pytest.mark.parametrize(
    "change",
    [
        {"env": "probe/categorical", "schedule": "static"},
        {"schedule": "micro", "scope": "global", "networks": "both"},
        {"schedule": "oneshot", "score": "random", "norm": "l2", "space": "raw", "eps": (0.05, 0.1)},
    ],
    ids=str,
)
def test_every_kind_of_sweep_runs_through(change: dict) -> None:
    result = jp.sweep.run(replace(SMALL, **change))
    budgets = len(result.spec.budgets) * len(result.spec.attacks) + 1
    assert len(result.results) == 2 * budgets
    assert set(result.layers["network"]) == ({"policy", "value"} if "networks" in change else {"policy"})
    assert result.results["outside_ball"].sum() == 0


def test_the_zeros_of_every_layer_are_those_of_the_masks(small: jp.Sweep) -> None:
    weights = small.population.agents.pruned().policy
    for row in small.layers.iter_rows(named=True):
        kernel = np.asarray(weights[f"layer_{row['layer']}"]["kernel"])[row["member"]]
        assert (row["zeros"], row["size"]) == ((kernel == 0).sum(), kernel.size)
        assert row["zeros"] == round(row["sparsity_asked"] * row["size"])  # per layer, exactly
    achieved = small.layers.group_by("member").agg(pl.sum("zeros", "size")).sort("member")
    clean = small.results.filter(attack="none").sort("member")["sparsity"]
    np.testing.assert_allclose(achieved["zeros"] / achieved["size"], clean, rtol=1e-6)
    assert small.layers["network"].unique().to_list() == ["policy"]


def test_an_existing_folder_is_left_alone(tmp_path) -> None:
    with pytest.raises(jp.SpecError, match="exists"):
        jp.sweep.run(SMALL, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_head_that_does_not_fit_the_task_is_refused() -> None:
    with pytest.raises(jp.SpecError, match="head: 'categorical' does not fit probe/linear"):
        jp.sweep.run(replace(SMALL, head="categorical"))


def test_a_diverged_member_is_frozen_marked_and_changes_no_other(
    small: jp.Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    def poisoned(job: sweeps.Job) -> sweeps.Training:
        training = start(job)
        (learners,) = training.learners
        broken = jax.tree.map(lambda leaf: leaf.at[1].set(jnp.nan), learners.agent.policy)
        hurt = learners.replace(agent=learners.agent.replace(policy=broken))
        return training.replace(learners=(hurt,))

    start, seen = sweeps.start, []
    monkeypatch.setattr(sweeps, "start", poisoned)
    hurt = jp.sweep.run(SMALL, on_progress=seen.append)
    np.testing.assert_array_equal(hurt.population.diverged, [False, True])
    assert (seen[1].phase, seen[1].note) == ("training", "1 diverged")
    for name in ("results", "certificates", "curves", "sampled"):
        table, whole = getattr(hurt, name), getattr(small, name)
        assert table.filter("diverged")["member"].unique().to_list() == [1]
        assert_frame_equal(table.filter(member=0), whole.filter(member=0), check_exact=True)
    assert hurt.curves.filter(member=1)["return_mean"].is_nan().all()


def test_returns_are_reported_on_other_episodes_than_attacks_are_chosen_on(small: jp.Sweep) -> None:
    key = ["member", "attack", "eps"]
    means = small.episodes.group_by(*key, "episode_set").agg(pl.mean("return"), pl.len()).sort(key)
    rows = small.results.sort(key)
    for episodes, column, count in (("fresh", "return_mean", 4), ("selection", "selection_mean", 3)):
        found = means.filter(episode_set=episodes)
        assert found["len"].unique().to_list() == [count]
        np.testing.assert_allclose(rows[column], found["return"], rtol=1e-6)
    assert (rows["return_mean"] != rows["selection_mean"]).all()


def test_more_selection_episodes_change_no_reported_return(small: jp.Sweep) -> None:
    other = played(replace(SMALL, selection_episodes=1))["results"]
    for column in ("return_mean", "return_min", "length_mean"):
        np.testing.assert_allclose(other[column], small.results[column], rtol=1e-6)


def test_certificates_are_about_the_policy_that_draws_its_actions(small: jp.Sweep) -> None:
    assert small.certificates["policy"].unique().to_list() == ["sampled"]
    clean = small.results.filter(attack="none")
    assert small.sampled["policy"].unique().to_list() == ["sampled"]
    assert (small.sampled["return_mean"] != clean["return_mean"]).all()


def test_members_that_share_a_filter_have_that_of_the_dense_one(small: jp.Sweep) -> None:
    shared = sweeps.finished(*trained(replace(SMALL, shared_filter=True))).agents.normalizer
    own = small.population.agents.normalizer
    np.testing.assert_array_equal(shared.mean[0], shared.mean[1])
    np.testing.assert_array_equal(shared.variance[0], shared.variance[1])
    np.testing.assert_allclose(shared.mean[0], own.mean[0], rtol=1e-5)  # the dense one has kept its own
    assert not np.allclose(own.mean[0], own.mean[1], rtol=1e-3)


def test_a_run_goes_on_under_the_physics_it_began_with(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine where an accelerator has appeared, `auto` would now mean another physics."""
    RunFolder.create(tmp_path / "run", SMALL, "none")
    written = tmp_path / "run" / "spec.json"
    content = json.loads(written.read_text())
    content["spec"] |= {"env": "hopper", "physics": "auto"}
    content["resolved"]["physics"] = "native"
    written.write_text(json.dumps(content))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert envs.make("hopper", "auto").physics == "mjx"
    assert environment(RunFolder.open(tmp_path / "run").spec()).physics == "native"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"precision": "float64, products highest"}, "float64, products highest.*float32, products highest"),
        ({"format": 1}, "format 1, written by jaxprune 0.*reads format 3"),
        ({"format": 2}, "format 2, this program goes on with format 3"),
        ({"versions": {"jaxprune": "0", "jaxlib": "0.9.9"}}, "jaxlib 0.9.9, this is jaxlib 0"),
        ({"versions": {"warp-lang": "0.1"}}, "begun with warp-lang 0.1, this is warp-lang"),
        (
            {"device": {"platform": "cpu", "kind": "cpu", "count": 2}},
            "the processor as 2 devices, now it is 1: .* set JAX_NUM_CPU_DEVICES=2",
        ),
        (
            {"xla_flags": "--xla_cpu_use_fusion_emitters=false"},
            "begun with XLA_FLAGS=--xla_cpu_use_fus.*, now they are",
        ),
    ],
    ids=lambda change: next(iter(change)) if isinstance(change, dict) else "",
)
def test_a_run_that_cannot_go_on_as_it_was_begun_is_refused_naming_both(
    change: dict, said: str, tmp_path
) -> None:
    folder = RunFolder.create(tmp_path / "run", SMALL, "none")
    written = tmp_path / "run" / "spec.json"
    content = json.loads(written.read_text())
    versions = content["versions"] | change.get("versions", {})
    written.write_text(json.dumps(content | change | {"versions": versions}))
    with pytest.raises(jp.SpecError, match=said):
        jp.sweep.resume(folder.path)


def test_flags_that_change_nothing_that_is_computed_do_not_keep_a_run_from_going_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder.create(tmp_path / "run", SMALL, "none")
    flags_then = os.environ["XLA_FLAGS"]
    flags = [*reversed(flags_then.split()), f"--xla_dump_to={tmp_path}"]
    monkeypatch.setenv("XLA_FLAGS", " ".join(flags))
    assert folder.continuable()["xla_flags"] == flags_then


def test_a_run_that_another_process_is_at_work_on_is_refused(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", SMALL, "none").path
    with (
        files.alone(folder),
        pytest.raises(jp.SpecError, match=f"out: another process is at work in {folder}"),
    ):
        jp.sweep.resume(folder)
    assert {path.name for path in folder.iterdir()} == {"spec.json", ".lock"}
    with files.alone(folder):  # it was let go of
        pass


def test_one_member_trained_for_all_of_its_seed_changes_nothing_stopped_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = jp.SweepSpec(
        env="probe/linear",
        seeds=2,
        sparsities=(0.5, 0.0, 0.9),
        arms="noise:eps=0.1,noise:eps=0.2",
        steps=15 * 32,
        environments=2,
        unroll=16,
        epochs=1,
        minibatches=1,
        hidden=(4,),
    )
    folder = RunFolder.create(tmp_path / "run", spec, "none")
    seen: list[int] = []

    def stop(update: Update) -> None:
        seen.append(update.steps_done)
        if len(seen) == 2:  # after one iteration
            raise KeyboardInterrupt

    with as_users_compile():
        job, alone = trained(spec)
        assert job.trunk is None  # it is too small to be worth a program of its own
        monkeypatch.setattr(jobs, "STEPS_WORTH_A_PROGRAM", 0)
        job = sweeps.job(spec)
        with pytest.raises(KeyboardInterrupt), Meter(stop) as meter:
            sweeps.train(job, folder, meter)
        assert folder.trunk.is_dir()
        with Meter(stop) as meter:
            together = sweeps.train(job, folder, meter)
        assert not folder.trunk.is_dir()
    for one, other in zip(*map(jax.tree.leaves, (together, alone)), strict=True):
        if jax.dtypes.issubdtype(one.dtype, jax.dtypes.prng_key):
            one, other = map(jax.random.key_data, (one, other))
        np.testing.assert_array_equal(one, other)
    # Two iterations of four members, 2 x 16 steps each, and thirteen of twelve.
    assert job.trunk is not None and (job.trunk.end, job.trunk.trained.size) == (2, 4)
    assert job.training_steps == seen[-1] == 32 * (2 * 4 + 13 * 12)
    assert seen[1] == 4 * 32


def test_certified_returns_are_of_each_member_by_itself_and_hold_for_all_together(tmp_path):
    spec = replace(SMALL, seeds=2, return_episodes=30, return_eps="0.05", return_std="1,3")

    def returned(name, spec):
        """Of the members as they are before training."""
        job = sweeps.job(spec)
        population = sweeps.finished(job, sweeps.start(job))
        folder = RunFolder.create(tmp_path / name, spec, "none")
        with Meter() as meter:
            found = sweeps.certified_returns(job, population, folder, meter)
        return found.means, [kept.load_or_make(folder.spent(scale), dict) for scale in (1.0, 3.0)]

    (means, spent), (of_one, alone) = returned("both", spec), returned("alone", replace(spec, seeds="1:2"))
    for of_both, of_that in zip(spent, alone, strict=True):
        for name, values in of_both.items():
            np.testing.assert_allclose(values[2:], of_that[name], rtol=1e-4)
    # The shift is counted in standard deviations, of which there are three times as many in the wider one.
    first, wider = (of_both["squares"][:, :, :, 0] for of_both in spent)
    assert set(means["stds_tried"]) == {2} and np.all(wider < first)
    assert set(means["simultaneous"]) == {4 * 4} and set(means["episodes"]) == {15}
    # More limits together are lower ones.
    assert (means.filter(seed=1)["certified_mean"] <= of_one["certified_mean"] + 1e-3).all()
    with pytest.raises(jp.SpecError, match="return_episodes: 4 are too few"):
        jp.sweep.run(replace(spec, return_episodes=4), tmp_path / "few")
    assert not (tmp_path / "few").exists()
