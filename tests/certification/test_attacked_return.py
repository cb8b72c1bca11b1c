"""Certified returns of a population: what is summed, what is certified, and that no attack gets below it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprune import bounds, certification, streams
from jaxprune.attacks import Mad, Nothing, Victim
from jaxprune.budget import Ball, Budget
from jaxprune.certification import CertificationSpec, SmoothingSpec, attacked_return, procedure
from jaxprune.certification.attacked_return import attacked_returns
from jaxprune.certification.return_spec import ReturnSpec
from jaxprune.certification.spent import Spent, _squares, block_ends, spent, widened
from jaxprune.envs import probes
from jaxprune.errors import SpecError
from jaxprune.evaluation import Condition, Visits, for_all, play
from jaxprune.policy import agent as agents
from jaxprune.policy import layers
from jaxprune.population import Members
from tests import lines
from tests.populations import population

EPISODES, RADII = 24, (0.0, 0.05, 0.2)


@pytest.fixture(scope="module")
def members():
    """Two policies of the linear probe that move a good deal with what they see."""
    keys = jax.random.split(jax.random.key(3), 2)
    made = [agents.init(key, 4, 1, hidden=(4, 4)) for key in keys]
    strong = [agent.replace(policy=jax.tree.map(lambda leaf: 2.0 * leaf, agent.policy)) for agent in made]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *strong)
    return population(stacked, probes.linear(horizon=130), Budget(0.2))


@pytest.fixture(scope="module")
def keys():
    return jax.random.split(jax.random.key(1), 2)


@pytest.fixture(scope="module")
def made(members, keys):
    spec = ReturnSpec(return_episodes=EPISODES, return_eps=RADII, return_blocks=3)
    heard = []
    found = spent(spec, members, keys, lambda _, steps: heard.append(steps))
    attacked = len(RADII) * spec.return_attacked
    assert sum(heard) == 2 * (EPISODES + attacked) * members.env.horizon
    return spec, found


def test_the_sums_are_those_of_the_bounds_at_every_state_visited(members, keys, made):
    _, found = made
    clean = for_all(Condition(Nothing(), Ball(jnp.zeros(1)), "sampled"), 2)
    tally, visits = play(
        members.env, Victim(members.agents, "normalised"), (clean,), keys, EPISODES, record=EPISODES
    )
    np.testing.assert_allclose(found.rewards.sum(-1), tally.total[:, 0], rtol=1e-5)

    def shift(agent, observation, eps):
        network = bounds.in_std_units(layers(agent.policy), jnp.exp(agent.log_std))
        return bounds.crown_bound(network, agent.normalise(observation), eps).euclidean

    at_all = jax.jit(jax.vmap(jax.vmap(jax.vmap(shift, (None, 0, None)), (None, 0, None)), (0, 0, None)))
    for radius, eps in enumerate(RADII[1:], start=1):
        squares = np.asarray(at_all(members.agents, visits.observation, eps)) ** 2
        by_hand = np.where(visits.alive, squares, 0).sum(axis=1)
        np.testing.assert_allclose(found.squares[:, radius].sum(-1), by_hand, rtol=1e-4)
        assert (found.squares[:, radius].sum(-1) <= by_hand * (1 + 1e-4)).all()


@pytest.mark.parametrize("share", [0.0, 0.04, 0.5, 1.0])
def test_the_dead_are_not_counted_wherever_they_are(members, share):
    rng = np.random.default_rng(0)
    seen = Visits(
        jnp.asarray(rng.standard_normal((2, 50, 6, 4)), jnp.float32),
        jnp.asarray(rng.uniform(size=(2, 50, 6)) < share),
    )

    def square(agent, observation):
        network = bounds.in_std_units(layers(agent.policy), jnp.exp(agent.log_std))
        return bounds.crown_bound(network, agent.normalise(observation), 0.2).euclidean ** 2

    at_all = jax.jit(jax.vmap(jax.vmap(jax.vmap(square, (None, 0)), (None, 0))))
    by_hand = np.where(seen.alive, at_all(members.agents, seen.observation), 0).sum(axis=1)
    found = _squares(members.agents, seen, jnp.asarray([0.2]), norm="linf", space="normalised")
    np.testing.assert_allclose(found[:, 0], by_hand, rtol=1e-4, atol=1e-30)


def test_shifts_and_attacks_are_those_of_the_ball_asked_for(keys):
    """An l2 ball of raw units, around what policies read that are linear in the raw observation."""
    spreads = jnp.array([[0.5], [-0.3]])
    pair = lines.population(1.0, 1.2).replace(log_std=spreads)
    spec = ReturnSpec(return_episodes=4, return_eps=(0.05, 0.1), return_attacked=3)
    everyone = population(pair, probes.linear(), Budget(0.1, "l2", "raw"))
    found = spent(spec, everyone, keys, lambda *_: None)
    for member, spread in enumerate(np.exp(spreads[:, 0])):
        for radius, eps in enumerate(spec.radii):
            paid = probes.HORIZON * (lines.shift(eps, "l2", "raw") / spread) ** 2
            np.testing.assert_allclose(found.squares[member, radius].sum(-1), paid, rtol=2e-3)
    under = for_all(Condition(Mad(), Ball(jnp.array(spec.radii), "l2"), "sampled"), 2)
    tally, _ = play(everyone.env, Victim(pair, "raw"), (under,), keys, 3)
    np.testing.assert_allclose(found.attacked.sum(-1), tally.total, rtol=1e-4)


def test_the_shift_of_a_softmax_policy_is_that_of_the_span_of_its_logits():
    """Logits that are linear: the ball moves their differences by `eps ||W_i - W_j||_1`."""
    agent = agents.init(jax.random.key(0), 4, 3, hidden=(), discrete=True)
    kernel = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    agent = agent.replace(policy={"layer_0": {"kernel": jnp.asarray(kernel), "bias": jnp.zeros(3)}})
    seen = Visits(jnp.ones((1, 50, 2, 4)), jnp.arange(50)[None, :, None] < jnp.array([50, 7]))
    one = jax.tree.map(lambda leaf: leaf[None], agent)
    found = _squares(one, seen, jnp.asarray([0.1]), norm="linf", space="normalised")
    span = 0.1 * np.abs(kernel[:, :, None] - kernel[:, None, :]).sum(0).max()
    np.testing.assert_allclose(found[0, 0], np.array([50, 7]) * np.pi / 8 * span**2, rtol=1e-3)


def test_so_many_standard_deviations_are_so_many_times_the_own_ones(members):
    wider = widened(members.agents, 1.5)
    np.testing.assert_allclose(np.exp(wider.log_std), 1.5 * np.exp(members.agents.log_std), rtol=1e-6)
    assert widened(members.agents, 1.0) is members.agents


def test_members_in_chunks_have_what_they_have_side_by_side(members, keys, made):
    spec, found = made
    order = np.array([1, 0, 0, 1, 1])
    in_chunks = spent(spec, members.of(order), keys[order], lambda *_: None, chunk=2)
    for parts, together in zip(in_chunks, found, strict=True):
        np.testing.assert_array_equal(parts, together[order])


def test_blocks_are_as_equal_as_stretches_allow_and_reach_the_horizon():
    assert block_ends(1, 1000).tolist() == [20]
    assert block_ends(4, 1000).tolist() == [5, 10, 15, 20]
    assert block_ends(16, 1000).size == 16 and block_ends(16, 1000)[-1] == 20
    assert block_ends(16, 120).tolist() == [1, 2, 3]


def less_the_kl_gap(returns, paid, half, confidence):
    """Of the mean from 0 to the largest return chosen on; both limits have half of the error."""
    highest, each = returns[:half].max(), (1 + confidence) / 2
    cut = np.minimum(returns[half:], highest)
    gap = bounds.kl_gap(paid[half:] / 2, span=highest, cap=paid[:half].max() / 2 + 1e-300, confidence=each)
    clean = bounds.filter_mean(cut, 0 * cut, lowest=0.0, budget=0.0, confidence=each)
    return max(0.0, clean - gap)


def test_a_squared_shift_stands_for_the_divergence_that_bounds_the_policys():
    span, delta = jnp.float32(0.3), jnp.float32(0.7)
    softmax, gaussian = (attacked_return.KL_OF_SQUARE[discrete] for discrete in (True, False))
    of_span = softmax * bounds.categorical_shift_bound(span) ** 2
    np.testing.assert_allclose(of_span, bounds.categorical_kl_bound(span), rtol=1e-4)
    np.testing.assert_allclose(gaussian * delta**2, bounds.gaussian_kl(delta), rtol=1e-6)


def test_limits_are_those_of_the_half_that_did_not_choose(members, made):
    spec, found = made
    table, curve = attacked_returns(spec, members, {1.0: found}, 0.9)
    # Four statements of two members under three radii hold together.
    each = 1 - 0.1 / (4 * 2 * 3)
    assert spec.each(0.9, 2) == pytest.approx(each) and set(table["simultaneous"]) == {24}
    half = EPISODES // 2
    largest = bounds.largest_budget(0.5, half, sigma=1.0, confidence=each)
    assert table["largest_budget"].to_list() == pytest.approx([largest] * table.height)
    for row in table.iter_rows(named=True):
        radius = RADII.index(row["eps"])
        returns = found.rewards[row["member"]].sum(-1)
        paid = found.squares[row["member"], radius].sum(-1)
        choosing, certifying = (
            bounds.Episodes(returns[rows, None], paid[rows, None])
            for rows in (slice(half), slice(half, None))
        )
        by = bounds.tangents(choosing, lowest=np.zeros(1), confidence=each)
        assert row["budget"] == pytest.approx(by.budgets[0])
        by_hand = bounds.tangent_mean(by, certifying, confidence=each)
        assert row["certified_mean"] == pytest.approx(by_hand)
        budget = by.blocks[0].budgets_at(np.array([row["threshold"]]))[0]
        reached = bounds.filter_probability(
            *(part[:, 0] for part in certifying),
            row["threshold"],
            budget=budget,
            confidence=1 - (1 - each) / len(attacked_return.SHARES),
        )
        assert row["certified_probability"] >= reached > 0
        assert row["certified_mean"] < row["return_mean"] == pytest.approx(returns[half:].mean())
        assert row["spent"] == pytest.approx(np.sqrt(np.median(paid[half:])))
        assert row["certified_kl"] == pytest.approx(less_the_kl_gap(returns, paid, half, each))
        assert 0 <= row["certified_kl"] < row["return_mean"]
        assert row["threshold"] == pytest.approx(returns[:half].mean() / 2)
    of_first = curve.filter(member=0, eps=0.05).sort("threshold")
    assert of_first.height == len(attacked_return.SHARES)
    assert (of_first["certified_probability"] <= of_first["probability"]).all()
    assert of_first["certified_probability"].is_sorted(descending=True)


def test_thresholds_are_shares_of_what_the_dense_twin_returns(members, made):
    spec, found = made
    pruned_first = Members(np.array([7, 7]), np.array([0.5, 0.0]), np.array(["ppo"] * 2))
    family = dataclasses.replace(members, members=pruned_first)
    table, curve = attacked_returns(spec, family, {1.0: found}, 0.9)
    own, of_twin = found.rewards.sum(-1)[:, : EPISODES // 2].mean(-1)
    assert own != pytest.approx(of_twin, rel=1e-3)
    assert table["threshold"].to_list() == pytest.approx([of_twin / 2] * table.height)
    of_pruned = curve.filter(member=0, eps=0.05)["threshold"].to_list()
    assert of_pruned == pytest.approx([of_twin * share for share in attacked_return.SHARES])


def test_blocks_pay_for_their_own_past_only(members, made):
    spec, found = made
    table, _ = attacked_returns(spec, members, {1.0: found}, 0.9)
    horizon, half = members.env.horizon, EPISODES // 2
    ends = block_ends(3, horizon)
    for row in table.iter_rows(named=True):
        squares = found.squares[row["member"], RADII.index(row["eps"])]
        starts = np.append(0, ends[:-1])
        episodes = bounds.Episodes(
            np.add.reduceat(found.rewards[row["member"]], starts, axis=-1),
            np.cumsum(squares, axis=-1)[:, ends - 1],
        )
        parts = [
            bounds.Episodes(*(leaf[rows] for leaf in episodes)) for rows in (slice(half), slice(half, None))
        ]
        by_hand = bounds.chosen_mean(*parts, lowest=np.zeros(ends.size), confidence=spec.each(0.9, 2))
        assert row["certified_blocks"] == pytest.approx(by_hand.bound) and row["blocks"] == ends.size


def test_every_field_says_what_it_changes(members, made):
    """Whoever adds one says here, or in a test above, which number it changes."""
    spec, found = made
    assert sorted(field.name for field in dataclasses.fields(ReturnSpec)) == [
        "return_attacked",  # test_no_attack_on_the_policy_that_draws_gets_below_the_limits
        "return_blocks",
        "return_episodes",  # the fixture, test_what_cannot_be_certified_is_refused
        "return_eps",  # likewise
        "return_lowest",
        "return_std",  # test_the_scale_is_the_best_of_the_choosing_half_and_clean_is_that_of_the_policy...
    ]
    one_block, _ = attacked_returns(dataclasses.replace(spec, return_blocks=1), members, {1.0: found}, 0.9)
    assert set(one_block["blocks"]) == {1}
    assert one_block["certified_blocks"].to_list() == one_block["certified_mean"].to_list()
    raised, _ = attacked_returns(dataclasses.replace(spec, return_lowest=70.0), members, {1.0: found}, 0.9)
    counted = np.maximum(found.rewards.sum(-1)[:, EPISODES // 2 :], 70.0).mean(-1)
    assert raised["mean_max_lowest"].to_list() == pytest.approx(np.repeat(counted, len(RADII)).tolist())
    assert (raised["certified_mean"] >= 70).all() and set(raised["lowest"]) == {70.0}


def test_no_attack_on_the_policy_that_draws_gets_below_the_limits(members, keys, made):
    spec, found = made
    table, _ = attacked_returns(spec, members, {1.0: found}, 0.9)
    attacked = for_all(Condition(Mad(5), Ball(jnp.array(RADII)), "sampled"), 2)
    tally, _ = play(members.env, Victim(members.agents, "normalised"), (attacked,), keys, 200)
    means = np.asarray(tally.total).mean(-1)
    assert (means[:, 2] < means[:, 0]).any()  # the attack is one
    for row in table.iter_rows(named=True):
        least = means[row["member"], RADII.index(row["eps"])]
        assert max(row["certified_mean"], row["certified_blocks"], row["certified_kl"]) <= least
        assert row["attacked_episodes"] == 10
        found_by_mad = found.attacked[row["member"], RADII.index(row["eps"])].sum(-1).mean()
        assert row["attacked_mean"] == row["attacked_max_lowest"] == pytest.approx(found_by_mad)
        assert row["certified_blocks"] <= row["attacked_blocks"]
    under_mad = found.attacked.sum(-1).mean(-1)
    assert (under_mad[:, 2] < under_mad[:, 0]).any()


def test_what_an_attack_finds_is_of_the_quantity_that_is_certified(members, made):
    spec, found = made
    # An attack that costs more than there is, in all episodes but every other one.
    costly = np.arange(found.attacked.shape[-2]) % 2 == 0
    attacked = np.where(costly[:, None], -400.0, found.attacked)
    table, _ = attacked_returns(spec, members, {1.0: found._replace(attacked=attacked)}, 0.9)
    for row in table.iter_rows(named=True):
        of_one = attacked[row["member"], RADII.index(row["eps"])].sum(-1)
        assert row["attacked_mean"] == pytest.approx(of_one.mean()) and row["attacked_mean"] < row["lowest"]
        assert row["attacked_max_lowest"] == pytest.approx(np.maximum(of_one, row["lowest"]).mean())
        assert row["attacked_max_lowest"] == pytest.approx(of_one[~costly].sum() / costly.size)
        # The others earn no less than 0 in any block.
        assert row["attacked_blocks"] == pytest.approx(row["attacked_max_lowest"])
    floor = dataclasses.replace(spec, return_lowest=-2000.0)
    lower, _ = attacked_returns(floor, members, {1.0: found._replace(attacked=attacked)}, 0.9)
    assert lower["attacked_max_lowest"].to_list() == lower["attacked_mean"].to_list()


def test_what_an_attack_finds_by_blocks_counts_each_block_by_itself(members, made):
    spec, found = made
    assert block_ends(spec.return_blocks, members.env.horizon).tolist() == [1, 2, 3]  # 50, 50 and 30 steps
    earned = np.array([5.0, -20.0, 1.0])
    attacked = np.broadcast_to(earned, found.attacked.shape)
    spec = dataclasses.replace(spec, return_lowest=-13.0)  # of which the blocks have 5, 5 and 3
    table, _ = attacked_returns(spec, members, {1.0: found._replace(attacked=attacked)}, 0.9)
    assert set(table["attacked_mean"]) == {-14.0} and set(table["attacked_max_lowest"]) == {-13.0}
    assert set(table["attacked_blocks"]) == {5.0 - 5.0 + 1.0}
    two, _ = attacked_returns(
        dataclasses.replace(spec, return_blocks=2), members, {1.0: found._replace(attacked=attacked)}, 0.9
    )
    assert set(two["attacked_blocks"]) == {-10.0 + 1.0}


def test_attacked_returns_that_were_kept_whole_are_refused(made):
    _, found = made
    assert Spent.read(found._asdict()) == found
    with pytest.raises(SpecError, match="an earlier version kept the returns only"):
        Spent.read(found._asdict() | {"attacked": found.attacked.sum(-1)})


def test_a_wider_policy_is_easier_to_certify_and_is_the_one_that_plays(members, keys, made):
    _, found = made
    spec, _ = made
    wider = spent(spec, members, keys, lambda *_: None, scale=2.0)
    assert (wider.rewards != found.rewards).any()
    assert (wider.attacked != found.attacked).any()
    # Shifts are in standard deviations, and other states are visited.
    assert (wider.squares[:, 1:].sum(-1).mean(-1) < found.squares[:, 1:].sum(-1).mean(-1) / 2).all()


def test_the_scale_is_the_best_of_the_choosing_half_and_clean_is_that_of_the_policy_as_trained(
    members, keys, made
):
    spec, found = made
    wider = spent(spec, members, keys, lambda *_: None, scale=2.0)
    spec, half = dataclasses.replace(spec, return_std="1,2"), EPISODES // 2
    assert spec.played == (1.0, 2.0)
    table, _ = attacked_returns(spec, members, {1.0: found, 2.0: wider}, 0.9)
    alone = {
        scale: attacked_returns(
            dataclasses.replace(spec, return_std=(scale,)), members, {1.0: found, scale: one}, 0.9
        ).means
        for scale, one in ((1.0, found), (2.0, wider))
    }
    assert set(table["std"]) == {1.0, 2.0} and set(table["stds_tried"]) == {2}
    own = found.rewards.sum(-1)
    for row in table.iter_rows(named=True):
        place = {"member": row["member"], "eps": row["eps"]}
        same = alone[row["std"]].filter(**place).row(0, named=True)
        for column in ("return_mean", "certified_mean", "certified_blocks", "certified_probability", "spent"):
            assert row[column] == same[column]
        # However many scales were tried, limits share the error among those that are given.
        assert row["simultaneous"] == same["simultaneous"]
        assert row["attacked_mean"] == same["attacked_mean"]
        assert row["mean_own_std"] == pytest.approx(own[row["member"], half:].mean())
        assert row["asked_mean"] == pytest.approx(own[row["member"], :half].mean() / 4)

    def other_half(one):
        rewards = one.rewards.copy()
        rewards[:, half:] *= 0.1
        return one._replace(rewards=rewards)

    poorer, _ = attacked_returns(spec, members, {1.0: found, 2.0: other_half(wider)}, 0.9)
    assert poorer["std"].to_list() == table["std"].to_list()


def test_every_scale_is_played_once_and_the_own_one_too(members, made, monkeypatch):
    spec, found = made
    scales, streams_of, phases = [], [], []

    def played(*arguments):
        scales.append(arguments[-2])
        streams_of.append(arguments[2])
        return found

    monkeypatch.setattr(procedure, "spent", played)
    spec = dataclasses.replace(spec, return_std="2,0.5")
    table, _ = procedure.returns_under_attack(
        spec, members, CertificationSpec(seed=8), lambda update: phases.append(update.phase)
    )
    root = streams.key(8, "attacked returns")
    for own in streams_of:  # the i-th episodes of all scales are paired
        assert list(own) == [jax.random.fold_in(root, int(seed)) for seed in members.members.seed]
    assert scales == [1.0, 2.0, 0.5] and set(table["std"]) <= {2.0, 0.5}
    assert list(dict.fromkeys(phases)) == [
        f"episodes for certified returns{at}" for at in ("", ", 2 std", ", 0.5 std")
    ]
    steps = spec.total_steps(2, members.env.horizon)
    of_one = EPISODES + len(RADII) * spec.return_attacked
    assert steps == 2 * 3 * of_one * members.env.horizon


def test_the_largest_radius_is_searched_in_order_at_the_whole_error(members, made):
    spec, found = made
    # Shifts that leave nothing at the last radius.
    found = found._replace(squares=found.squares * np.array([1.0, 1.0, 1e4])[:, None, None])
    table, _ = attacked_returns(spec, members, {1.0: found}, 0.9)
    each, half = 1 - 0.1 / (2 * 2), EPISODES // 2  # two searches of two members
    assert spec.each_sequence(0.9, 2) == pytest.approx(each)
    for row in table.iter_rows(named=True):
        returns = found.rewards[row["member"]].sum(-1)
        reached = []
        for radius in range(len(RADII)):
            paid = found.squares[row["member"], radius].sum(-1)
            choosing, certifying = (
                bounds.Episodes(returns[rows, None], paid[rows, None])
                for rows in (slice(half), slice(half, None))
            )
            by = bounds.tangents(choosing, lowest=np.zeros(1), confidence=spec.each(0.9, 2))
            limit = bounds.tangent_mean(by, certifying, confidence=each)
            reached.append(limit >= returns[:half].mean() / 4)
        assert reached == [True, True, False]
        assert row["largest_eps_25"] == 0.05 == row["largest_eps_25_blocks"]
    turned = dataclasses.replace(spec, return_eps=RADII[::-1])
    back = found._replace(squares=found.squares[:, ::-1], attacked=found.attacked[:, ::-1])
    again, _ = attacked_returns(turned, members, {1.0: back}, 0.9)
    assert set(zip(again["member"], again["largest_eps_25"], strict=True)) == set(
        zip(table["member"], table["largest_eps_25"], strict=True)
    )


def test_a_member_that_diverged_has_no_limit(members, made):
    spec, found = made
    lost = population(members.agents, members.env, members.budget, diverged=np.array([False, True]))
    table, curve = attacked_returns(spec, lost, {1.0: found}, 0.9)
    assert table.filter(member=1)["certified_mean"].to_list() == [None] * len(RADII)
    assert set(curve["member"]) == {0}
    none = population(members.agents, members.env, members.budget, diverged=np.array([True, True]))
    table, curve = attacked_returns(spec, none, {1.0: found}, 0.9)
    assert table["certified_mean"].null_count() == table.height == 2 * len(RADII)
    assert curve.is_empty() and curve.schema == attacked_return.CURVE


def test_what_cannot_be_certified_is_refused(members):
    with pytest.raises(SpecError, match=r"return_eps: got -0\.1, needs radii of at least 0"):
        ReturnSpec(return_eps="0.1,-0.1")
    with pytest.raises(SpecError, match=r"return_eps: 0\.1 is given 2 times"):
        ReturnSpec(return_eps="0.1,0.1")
    with pytest.raises(SpecError, match="return_std: got 0"):
        ReturnSpec(return_std="1,0")
    unused = ReturnSpec(return_eps="0.01")
    with pytest.raises(SpecError, match="return_eps: no returns are certified with return_episodes 0"):
        unused.check(0.95, members)
    for lowest in (float("nan"), float("inf"), -float("inf")):
        with pytest.raises(SpecError, match=f"^return_lowest: got {lowest:g}, needs a finite number$"):
            ReturnSpec(return_lowest=lowest)
    for lowest in (-0.0, 0, -1e30, None):
        assert ReturnSpec(return_lowest=lowest).return_lowest == lowest
    with pytest.raises(SpecError, match=r"return_episodes: 4 are too few.*at least \d+ are needed$") as few:
        ReturnSpec(return_episodes=4).check(0.95, members)
    needed = int(str(few.value).split()[-3])
    ReturnSpec(return_episodes=needed).check(0.95, members)
    with pytest.raises(SpecError, match=f"return_episodes: {needed - 1} are too few"):
        ReturnSpec(return_episodes=needed - 1).check(0.95, members)
    ReturnSpec(return_episodes=0).check(0.95, members)
    still = members.agents.replace(log_std=members.agents.log_std - 100)
    with pytest.raises(SpecError, match="deterministic"):
        ReturnSpec(return_episodes=100).check(0.95, population(still, members.env))


def test_nothing_is_certified_of_the_mode(members, tmp_path):
    spec = ReturnSpec(return_episodes=100)
    said = "^return_episodes: policy is mode, and a deterministic action has no noise"
    with pytest.raises(SpecError, match=said):
        spec.check(0.95, members, policy="mode")
    ReturnSpec(return_episodes=0).check(0.95, members, policy="mode")
    of_mode = CertificationSpec(eps=0.2, policy="mode")
    with pytest.raises(SpecError, match=said):
        procedure.returns_under_attack(spec, members, of_mode)
    with pytest.raises(SpecError, match=said):
        certification.run(of_mode, SmoothingSpec(), members, folder=tmp_path / "new", returned=spec)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_certified_is_refused_before_anything_is_written(members, tmp_path):
    def refused(population, returned, said, units="dense", **smoothing):
        spec = CertificationSpec(eps=0.2, units=units)
        with pytest.raises(SpecError, match=said):
            asked = SmoothingSpec(**smoothing)
            certification.run(spec, asked, population, folder=tmp_path / "new", returned=returned)
        assert list(tmp_path.iterdir()) == []

    few = {"smoothing_sigma": 0.1, "smoothing_episodes": 3}
    refused(members, ReturnSpec(), "^smoothing_episodes: 3 can certify no return", **few)

    logits = [agents.init(jax.random.key(i), 4, 2, discrete=True, hidden=(4,)) for i in range(2)]
    categorical = population(jax.tree.map(lambda *leaves: jnp.stack(leaves), *logits), members.env)
    refused(categorical, ReturnSpec(return_episodes=100, return_std="2"), "^return_std: a categorical policy")
    still = members.agents.replace(log_std=members.agents.log_std - 100)
    no_noise = population(still, members.env)
    refused(
        no_noise, ReturnSpec(return_episodes=100), "^return_episodes: a policy is deterministic", "action"
    )
    refused(members, ReturnSpec(return_episodes=4), "^return_episodes: 4 are too few")
