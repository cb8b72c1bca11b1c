"""Regularisers: values known by hand or found by a grid, what their gradients reach, and their budgets."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprune.bounds import crown_bound, crown_ibp_box, in_std_units, interval_box
from jaxprune.errors import SpecError
from jaxprune.policy import Agent, layers, normalizer
from jaxprune.policy import agent as agents
from jaxprune.training.arms import read_arm
from jaxprune.training.batch import Batch, Transitions
from jaxprune.training.regularizers import REGULARIZERS, Moment, Regularizer, Sizes, add, wocar
from jaxprune.training.regularizers import ernie as ernies
from jaxprune.training.regularizers.ascent import STEPS, ascend
from jaxprune.training.regularizers.radial import log_prob_range
from jaxprune.training.regularizers.sa_sgld import shift
from jaxprune.training.regularizers.schedule import BUDGET, SCHEDULES, paced, scheduled
from tests.compiled import as_users_compile

EPS, KEY = 0.3, jax.random.key(0)
SLOPES = np.array([[1.0], [-2.0], [0.5], [-0.25]], np.float32)
X = jnp.asarray(np.random.default_rng(0).normal(size=(32, 4)), jnp.float32)
BATCH = Batch(
    x=X,
    action=jnp.asarray(np.random.default_rng(1).normal(size=(32, 1)), jnp.float32),
    log_prob=jnp.full(32, -1.0),
    advantage=jnp.linspace(-1.0, 1.0, 32),
    value_target=jnp.zeros(32),
)


def on_a_line(log_std: float = 0.0) -> Agent:
    """`mu(x) = w . x`, a policy of one action, and V the same."""
    network = {"layer_0": {"kernel": jnp.asarray(SLOPES), "bias": jnp.zeros(1)}}
    return Agent(network, jnp.full(1, log_std), network, normalizer.init((4,)))


def curved(seed: int = 3) -> Agent:
    """A random policy of one hidden layer with two features and outputs of the size of one."""
    drawn = agents.init(jax.random.key(seed), 2, 1, hidden=(8,))
    last = drawn.policy["layer_1"]
    return drawn.replace(policy=drawn.policy | {"layer_1": last | {"kernel": 100.0 * last["kernel"]}})


def moment(eps: jax.Array | float = EPS) -> Moment:
    return Moment(eps, 0.2, KEY)


def term(
    name: str, agent: Agent, eps: jax.Array | float = EPS, batch: Batch = BATCH, **numbers: float
) -> jax.Array:
    return _term(name, agent, eps, batch, numbers)


@partial(jax.jit, static_argnames="name")
def _term(name: str, agent: Agent, eps: jax.Array, batch: Batch, numbers: dict[str, jax.Array]) -> jax.Array:
    record = REGULARIZERS[name]
    assert record.loss is not None
    return record.loss(agent, batch, dict(record.leaves) | {"eps": EPS} | numbers, moment(eps))


# --- SA --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("log_std", [0.0, -1.0])
def test_on_a_line_the_ascent_comes_within_one_stride_of_the_edge(log_std: float) -> None:
    """The largest R is `(eps |w|_1 / sigma)^2`; a start on the wrong side lacks one stride."""
    largest = float((EPS * np.abs(SLOPES).sum() / np.exp(log_std)) ** 2)
    found = float(term("sa-sgld", on_a_line(log_std)))
    assert (1 - 2 / STEPS) ** 2 * largest <= found <= largest * (1 + 1e-5)
    bounded = float(term("sa-convex", on_a_line(log_std), kappa=1.0))
    assert bounded == pytest.approx(largest, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "factor"),
    [("sa-sgld", "kappa"), ("sa-convex", "kappa"), ("d2", "weight"), ("d2-sampled", "weight")],
)
def test_the_gradient_goes_through_sigma_unless_it_is_detached(name: str, factor: str) -> None:
    agent = on_a_line()

    def of_log_std(log_std: jax.Array, detached: float) -> jax.Array:
        return term(name, agent.replace(log_std=log_std), detach_std=detached, **{factor: 1.0})

    # R ~ 1 / sigma^2, so dR / dlog sigma = -2 R.
    slope = jax.grad(of_log_std)(jnp.zeros(1), 0.0)
    np.testing.assert_allclose(slope, [-2 * float(term(name, agent, **{factor: 1.0}))], rtol=1e-4)
    np.testing.assert_array_equal(jax.grad(of_log_std)(jnp.zeros(1), 1.0), [0.0])


def test_what_the_policy_does_at_x_is_a_constant_of_sa_sgld() -> None:
    """dR / dw with mu(x) held is `2 (w . d) s_hat / sigma^2`, and not `2 (w . d) d`."""
    agent = on_a_line()
    s_hat = ascend(lambda x, s: shift(agent, x, s), X, EPS, KEY, 1e-5)
    assert float(jnp.abs(s_hat - X).max()) <= EPS + 1e-6

    def of_weights(kernel: jax.Array) -> jax.Array:
        return term("sa-sgld", agent.replace(policy={"layer_0": {"kernel": kernel, "bias": jnp.zeros(1)}}))

    moved = (s_hat - X) @ SLOPES
    wanted = (2 * moved * s_hat).mean(0)[:, None]
    np.testing.assert_allclose(jax.grad(of_weights)(jnp.asarray(SLOPES)), wanted, rtol=1e-3)


def test_convex_is_above_a_grid_and_a_grid_above_the_ascent() -> None:
    agent, offsets = curved(), jnp.linspace(-EPS, EPS, 41)
    grid = jnp.stack(jnp.meshgrid(offsets, offsets), -1).reshape(-1, 2)
    few = BATCH.replace(x=X[:, :2])
    at_most = jax.jit(jax.vmap(lambda x: jax.vmap(lambda d: shift(agent, x, x + d))(grid).max()))
    of_grid = at_most(few.x).mean()
    for whole in (EPS, 1e9):  # the share of the budget: intervals alone, and CROWN-IBP alone
        bounded = _term("sa-convex", agent, EPS, few, {"eps": whole, "kappa": 1.0})
        assert float(bounded) >= float(of_grid)
    assert float(of_grid) >= float(term("sa-sgld", agent, batch=few)) * (1 - 1e-3) > 0


def test_crown_ibp_holds_and_is_never_wider_than_intervals() -> None:
    agent = curved(5)
    network = layers(agent.policy)
    loose, tight = (jax.jit(box)(network, X[0, :2], EPS) for box in (interval_box, crown_ibp_box))
    assert jnp.all(tight.lower >= loose.lower) and jnp.all(tight.upper <= loose.upper)
    offsets = jax.random.uniform(KEY, (20_000, 2), minval=-EPS, maxval=EPS)
    change = jax.vmap(agent.output)(X[0, :2] + offsets) - agent.output(X[0, :2])
    assert jnp.all(change >= tight.lower) and jnp.all(change <= tight.upper)


# --- RADIAL ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("discrete", [False, True])
def test_the_log_probability_stays_in_its_range(discrete: bool) -> None:
    drawn = agents.init(jax.random.key(1), 2, 3, hidden=(8,), discrete=discrete)
    scaled = {"layer_1": drawn.policy["layer_1"] | {"kernel": 100 * drawn.policy["layer_1"]["kernel"]}}
    agent = drawn.replace(policy=drawn.policy | scaled)
    x, action = X[0, :2], jnp.int32(1) if discrete else jnp.asarray([0.3, -1.0, 0.0])
    low, high = log_prob_range(agent, x, action, EPS)
    offsets = jax.random.uniform(KEY, (10_000, 2), minval=-EPS, maxval=EPS)
    seen = jax.vmap(lambda d: agent.distribution(x + d).log_prob(action))(offsets)
    assert low <= seen.min() and seen.max() <= high
    assert seen.max() - seen.min() > 0.1 * (high - low)


def test_radial_is_what_the_worst_ratio_costs() -> None:
    agent = on_a_line()
    assert float(term("radial", agent, 0.0)) == pytest.approx(0.0, abs=1e-4)
    costs = [float(term("radial", agent, eps)) for eps in (0.05, 0.1, 0.3)]
    assert 0 < costs[0] < costs[1] < costs[2]
    # by hand, in float64: mu moves by at most eps |w|_1
    mu, reach = np.float64(X @ SLOPES), 0.1 * np.abs(SLOPES).sum()
    gain = np.linspace(-1, 1, 32)
    gain = (gain - gain.mean()) / gain.std()
    action = np.float64(BATCH.action)
    near, far = np.maximum(np.abs(action - mu) - reach, 0), np.abs(action - mu) + reach

    def surrogate(distance: np.ndarray) -> np.ndarray:
        ratio = np.exp(-0.5 * distance[:, 0] ** 2 - 0.5 * np.log(2 * np.pi) + 1.0)
        return np.minimum(ratio * gain, np.clip(ratio, 0.8, 1.2) * gain)

    clean = surrogate(np.abs(action - mu))
    worst = np.minimum(clean, np.minimum(surrogate(near), surrogate(far)))
    assert costs[1] == pytest.approx(0.5 * (clean - worst).mean(), rel=1e-3)


# --- ERNIE, penalties on bounds ---------------------------------------------------------------------------


def test_ernie_is_the_change_of_the_action_whatever_the_spread() -> None:
    """On a line the largest change is `eps |w|_1`."""
    for log_std in (0.0, -2.0):
        found = float(term("ernie", on_a_line(log_std), weight=1.0))
        assert found == pytest.approx(EPS * np.abs(SLOPES).sum(), rel=1 / STEPS)
        assert found <= EPS * np.abs(SLOPES).sum() * (1 + 1e-5)


def test_the_stackelberg_gradient_is_that_of_finite_differences_and_not_the_other() -> None:
    """At x = 0, where a network without biases is 0 whatever its weights, the clean action is fixed."""
    agent, few = curved(), BATCH.replace(x=jnp.zeros((4, 2)))

    @partial(jax.jit, static_argnums=0)
    def of(rule: Callable[..., jax.Array], scale: jax.Array | float) -> jax.Array:
        scaled = jax.tree.map(lambda leaf: scale * leaf, agent.policy)
        return rule(agent.replace(policy=scaled), few, {"weight": 1.0}, moment(2.0))

    slope = float(jax.grad(lambda scale: of(ernies.stackelberg, scale))(1.0))
    step = 5e-3
    difference = float(of(ernies.stackelberg, 1.0 + step) - of(ernies.stackelberg, 1.0 - step)) / (2 * step)
    assert slope == pytest.approx(difference, rel=1e-2)
    assert slope != pytest.approx(float(jax.grad(lambda scale: of(ernies.loss, scale))(1.0)), rel=1e-2)


def test_the_penalties_are_the_bounds() -> None:
    agent, few = curved(), BATCH.replace(x=X[:3, :2])
    network = in_std_units(layers(agent.policy), jnp.exp(agent.log_std))
    crown = jax.jit(crown_bound)
    wanted = np.mean([float(crown(network, x, EPS).euclidean) ** 2 for x in few.x])
    assert float(term("d2", agent, batch=few, weight=1.0)) == pytest.approx(wanted, rel=1e-5)
    line = on_a_line(-1.0)
    delta = np.abs(SLOPES).sum() * EPS * np.e
    assert float(term("lipschitz-path", line, weight=1.0)) == pytest.approx(delta, rel=1e-3)
    spectral = np.linalg.norm(SLOPES) * EPS * 2 * np.e  # the l2 radius of the ball is eps sqrt(4)
    assert float(term("lipschitz-spectral", line, weight=1.0)) == pytest.approx(spectral, rel=1e-2)


def test_the_sampled_penalty_is_the_penalty_at_every_16th_state() -> None:
    agent, many = curved(), BATCH.replace(x=jax.random.normal(KEY, (33, 2)))
    each = [float(term("d2", agent, batch=many.replace(x=many.x[i : i + 1]), weight=1.0)) for i in range(33)]
    assert len({round(penalty, 5) for penalty in each}) == len(each)
    wanted = np.mean([each[0], each[16], each[32]])
    assert float(term("d2-sampled", agent, batch=many, weight=1.0)) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("name", [n for n, r in REGULARIZERS.items() if r.loss is not None])
def test_every_term_has_a_finite_gradient_and_vanishes_with_its_budget(name: str) -> None:
    agent = curved()
    few = BATCH.replace(
        x=X[:6, :2], action=BATCH.action[:6], log_prob=BATCH.log_prob[:6], advantage=BATCH.advantage[:6]
    )

    def of(policy: dict) -> jax.Array:
        return term(name, agent.replace(policy=policy), batch=few)

    slope = jax.grad(of)(agent.policy)
    sizes = [float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(slope)]
    assert np.all(np.isfinite(sizes)) and max(sizes) > 0
    assert float(term(name, agent, 0.0, few)) < 1e-3 * float(term(name, agent, EPS, few))


# --- USR -------------------------------------------------------------------------------------------------


def test_usr_lowers_a_value_by_rho_times_its_slope_and_the_published_form_by_the_value() -> None:
    agent = on_a_line()
    record, published = REGULARIZERS["usr"].next_value, REGULARIZERS["usr-published"].next_value
    assert record is not None and published is not None
    key, value = jax.random.key(3), jnp.float32(5.0)
    low = record(agent, {"rho": 0.1}, key, X[0], value)
    assert float(low) == pytest.approx(5.0 - 0.1 * np.abs(SLOPES).sum(), rel=1e-6)
    raised = agent.replace(value={"layer_0": {"kernel": jnp.asarray(SLOPES), "bias": jnp.full(1, 100.0)}})
    assert float(record(raised, {"rho": 0.1}, key, X[0], value)) == pytest.approx(float(low), rel=1e-6)
    for each in (agent, raised):
        z = jax.random.normal(key, X[0].shape)
        wanted = 5.0 - 0.1 * abs(float(each.state_value(X[0] + z))) * np.abs(z).sum()
        assert float(published(each, {"rho": 0.1}, key, X[0], value)) == pytest.approx(wanted, rel=1e-5)
    assert wanted < 5.0 - 10  # a constant added to V
    other = published(raised, {"rho": 0.1}, jax.random.key(4), X[0], value)
    assert float(other) != pytest.approx(wanted, rel=1e-3)


# --- budgets and names -----------------------------------------------------------------------------------


def test_the_budgets_grow_as_their_names_say() -> None:
    done = jnp.asarray([0.0, 0.125, 0.25, 0.5, 1.0, 2.0])
    grown = {name: jax.vmap(schedule)(done) for name, schedule in SCHEDULES.items()}
    assert grown["fixed"].tolist() == [1.0] * 6
    assert grown["linear"].tolist() == [0.0, 0.125, 0.25, 0.5, 1.0, 1.0]
    scale = 1 / (0.25**4 + 4 * 0.25**3 * 0.75)
    wanted = [0.0, scale * 0.125**4, scale * 0.25**4, scale * (0.25**4 + 4 * 0.25**3 * 0.25), 1.0, 1.0]
    np.testing.assert_allclose(grown["smooth"], wanted, rtol=1e-5)
    slopes = jax.vmap(jax.grad(SCHEDULES["smooth"]))(jnp.asarray([0.2499, 0.2501]))
    np.testing.assert_allclose(slopes[0], slopes[1], rtol=1e-2)


def test_a_budget_grows_between_its_start_and_its_ramp() -> None:
    numbers = {"eps": 0.2, "start": 0.25, "ramp": 0.75}
    done = jnp.asarray([0.0, 0.24, 0.25, 0.5, 0.75, 1.0])
    grown = {name: [float(scheduled(name, numbers, p, 0.0)) for p in done] for name in SCHEDULES}
    np.testing.assert_allclose(grown["fixed"], [0.0, 0.0, 0.2, 0.2, 0.2, 0.2], rtol=1e-6)
    np.testing.assert_allclose(grown["linear"], [0.0, 0.0, 0.0, 0.1, 0.2, 0.2], rtol=1e-6)
    np.testing.assert_allclose(grown["smooth"][3], 0.2 * SCHEDULES["smooth"](0.5), rtol=1e-6)
    from_zero = scheduled("linear", numbers | {"start": 0.0}, 0.5, 0.0)
    np.testing.assert_allclose(from_zero, 0.2 * 0.5 / 0.75, rtol=1e-6)


def test_a_fixed_budget_may_begin_late() -> None:
    (chosen,), leaves = read_arm("noise:eps=0.2:schedule=fixed:start=0.8:ramp=0.9")
    numbers = leaves["noise"]
    assert [float(scheduled(chosen.schedule, numbers, done, 0.0)) for done in (0.79, 0.81)] == [
        0.0,
        pytest.approx(0.2),
    ]


def test_radial_begins_after_a_quarter_of_the_training_as_published() -> None:
    (chosen,), leaves = read_arm("radial", 0.075)
    assert (chosen.schedule, leaves["radial"]["start"], leaves["radial"]["ramp"]) == ("smooth", 0.25, 0.75)
    assert read_arm("radial:schedule=linear:start=0", 0.075).chosen[0].schedule == "linear"


def test_a_self_paced_budget_ends_where_growth_and_pull_balance_and_cannot_collapse() -> None:
    """For a term c eps^2 / 2: `2 pull target / (2 pull + c)`, above 0 however large c is."""
    target, pull = 0.1, 0.5
    for c in (0.1, 1.0, 30.0, 555.0, 1e4):  # 555: of a Hopper policy, see `D` of SA-PPO at its published eps
        reached, budgets = 2 * pull * target / (2 * pull + c), [jnp.float32(0.0)]
        for _ in range(20):
            budgets.append(paced(budgets[-1], c * budgets[-1], target, BUDGET["pace"], pull))
        # At 0 there is nothing that grows yet; from there on it comes from one side, and never jumps beyond.
        away = np.asarray(budgets[1:]) / reached - 1
        assert (away >= -1e-5).all() or (away <= 1e-5).all()
        assert (np.diff(np.abs(away)) <= 1e-5).all()
        eps = budgets[-1]
        eps = jax.lax.fori_loop(
            0, 3000, lambda _, eps, c=c: paced(eps, c * eps, target, BUDGET["pace"], pull), eps
        )
        assert float(eps) == pytest.approx(reached, rel=1e-3)
    assert float(paced(jnp.float32(0.0), jnp.float32(0.0), 0.0, 0.05, pull)) == 0
    # The published rule, whose growth is s / sqrt(2 eps), falls to 0 from 1.1 of the threshold on.
    for share, survives in ((0.9, True), (1.1, False)):
        s = share * (4 * 0.1 * target / 3) * np.sqrt(2 * target / 3)

        def published(_: int, eps: jax.Array, s: float = s) -> jax.Array:
            after = paced(eps, s / jnp.sqrt(2 * jnp.maximum(eps, 1e-12)), target, 0.05, 0.1)
            return jnp.where(eps == 0, 0.0, after)

        eps = jax.lax.fori_loop(0, 20_000, published, jnp.float32(target))
        assert (float(eps) > 0.03) == survives


@pytest.mark.parametrize("name", [name for name, each in REGULARIZERS.items() if each.growth])
def test_the_growth_that_paces_a_budget_is_the_derivative_of_the_term_and_vanishes_with_eps(
    name: str,
) -> None:
    """Of a policy that is a line and a term of its square: `c eps`, which finite differences give exactly."""
    record = REGULARIZERS[name]
    numbers = dict(record.leaves) | {"eps": EPS}

    def growth(eps: float) -> float:
        return float(record.growth(on_a_line(), BATCH, numbers, moment(jnp.float32(eps))))

    for eps in (0.1, 0.3):
        high, low = (float(term(name, on_a_line(), jnp.float32(eps + h))) for h in (1e-2, -1e-2))
        # The ascent of sa-sgld may end one stride from the edge, where its growth is told at the corner.
        assert growth(eps) == pytest.approx((high - low) / 2e-2, rel=2.5 / STEPS)
    assert growth(1e-2) == pytest.approx(growth(0.1) / 10, rel=0.05)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            "radial:eps=1:schedule=self-paced",
            "radial: schedule self-paced follows a term .* those that have: sa-",
        ),
        (
            "noise:eps=1:schedule=self-paced",
            "noise: schedule self-paced follows a term that grows as eps^2 does",
        ),
        ("sa-sgld:eps=1:pace=1", "sa-sgld:pace says nothing to the schedule linear"),
        ("sa-sgld:eps=1:schedule=self-paced:ramp=1", "ramp says nothing to the schedule self-paced"),
        ("ppo+noise:eps=1", "arms: ppo is training without a regulariser; leave it out of 'ppo+noise:eps=1'"),
        ("noise:eps=1:eps=2", "arms: noise:eps is given twice"),
        ("noise:eps=1e39", "arms: noise:eps '1e39' must be a finite number"),
        ("usr:schedule=linear", "usr: unknown name 'schedule'"),
        ("sa-sgl", "arms: unknown name 'sa-sgl'; did you mean 'sa-sgld'"),
        ("sa-sgld:kapa=1", "arms: sa-sgld: unknown name 'kapa'; did you mean 'kappa'"),
        ("sa-sgld:kappa=-1", "arms: sa-sgld:kappa '-1' must be a finite number of at least 0"),
        ("sa-sgld:eps", "arms: sa-sgld:eps '' must be a finite number"),
        ("sa-sgld:eps=1:ramp=1.5", "ramp 1.5 is longer than the training"),
        ("sa-sgld:eps=1:start=0.8", "start 0.8 comes after its ramp, which ends at 0.75"),
        ("sa-sgld:schedule=cubic", "schedule: unknown name 'cubic'"),
        ("sa-sgld", "sa-sgld needs an eps, and none is published"),
        ("sa-sgld:eps=1+sa-sgld:eps=1", "given twice"),
        ("atla:eps=0.1+noise:eps=0.1", "both decide what the agent is shown"),
        ("randomised+kl", "randomised and kl in 'randomised+kl' both decide the body it trains with"),
        ("kl:spread=0", "arms: kl:spread '0' must be a finite number of at least 1"),
        ("randomised:spread=0.9", "arms: randomised:spread '0.9' must be a finite number of at least 1"),
    ],
)
def test_a_mistake_is_named(given: str, said: str) -> None:
    with pytest.raises(SpecError, match=said.replace("+", r"\+").replace("^", r"\^")):
        read_arm(given)


def test_an_arm_for_another_head_is_refused() -> None:
    with pytest.raises(SpecError, match="sa-convex is for gaussian policies, not categorical ones"):
        read_arm("sa-convex", 0.1, "categorical")


def test_an_arm_has_the_numbers_asked_for_and_the_defaults_of_the_others() -> None:
    assert read_arm("ppo") == ((), {})
    chosen, leaves = read_arm("sa-sgld:kappa=0.3:schedule=smooth+lipschitz-path", 0.075)
    assert [(one.name, one.schedule) for one in chosen] == [
        ("sa-sgld", "smooth"),
        ("lipschitz-path", "linear"),
    ]
    assert leaves["sa-sgld"] == dict(REGULARIZERS["sa-sgld"].leaves) | {"kappa": 0.3, "eps": 0.075}


def test_a_name_is_listed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jaxprune.training.regularizers.REGULARIZERS", dict(REGULARIZERS))
    with pytest.raises(SpecError, match="'sa-sgld' is listed already"):
        add(Regularizer("sa-sgld", "again"))


# --- WocaR -----------------------------------------------------------------------------------------------


def test_the_worst_critic_is_the_robust_bellman_value() -> None:
    """On random tables, with a policy whose logits the ball can move past some of the others.

    `Q(s, a) = r(s, a) + 0.8 sum_s' P(s' | s, a) min_{reachable a'} Q(s', a')`, by iteration in float64.
    """
    states, actions, discount, eps = 4, 3, 0.8, 0.2
    rng = np.random.default_rng(0)
    chance, reward = rng.dirichlet(np.ones(states), (states, actions)), rng.uniform(size=(states, actions))
    logits = rng.normal(size=(states, actions)).astype(np.float32)
    network = {"layer_0": {"kernel": jnp.asarray(logits), "bias": jnp.zeros(actions)}}
    agent = Agent(network, None, network, normalizer.init((states,)))
    reach = eps * np.abs(logits).sum(0)
    reachable = logits + reach >= (logits - reach).max(1, keepdims=True)
    assert (~reachable).sum() > 0 and reachable.sum(1).max() > 1
    wanted = np.zeros((states, actions))
    for _ in range(300):
        wanted = reward + discount * chance @ np.where(reachable, wanted, np.inf).min(1)
    count = 2048
    here, taken = rng.integers(states, size=count), rng.integers(actions, size=count)
    there = np.array([rng.choice(states, p=chance[s, a]) for s, a in zip(here, taken, strict=True)])
    one_hot = np.eye(states, dtype=np.float32)
    seen = Transitions(
        x=jnp.asarray(one_hot[here]),
        action=jnp.asarray(taken, jnp.int32),
        reward=jnp.asarray(reward[here, taken], jnp.float32),
        x_next=jnp.asarray(one_hot[there]),
        terminated=jnp.zeros(count, bool),
        s_hat=jnp.asarray(one_hot[here]),
        value=jnp.zeros(count),
        next_value=jnp.zeros(count),
    )
    critic = wocar.start(Sizes(states, actions, True, (32,)), jax.random.key(0))
    learn = jax.jit(lambda critic, key: wocar.learn(critic, agent, seen, discount, eps, key))
    for key in jax.random.split(jax.random.key(1), 300):
        critic = learn(critic, key)
    found = jax.vmap(lambda x: jax.vmap(lambda a: wocar.value(critic.slow, x, a))(jnp.arange(actions)))(
        jnp.asarray(one_hot)
    )
    np.testing.assert_allclose(found, wanted, rtol=0.05)  # of 170 transitions each


def test_the_worst_critic_is_the_robust_bellman_value_over_a_box_of_actions() -> None:
    """Three states, one action in [-1, 1], a linear policy: `mu` moves by `eps |w|_1`, an interval exactly.

    `Q(s, a) = r(s, a) + 0.8 sum_s' P(s' | s, a) min_{a' in box(s')} Q(s', a')` with a reward that is largest
    at some action and transitions that the action mixes; by iteration on a grid, in float64.
    """
    states, discount, eps = 3, 0.8, 0.25
    mu, best = np.array([0.3, -0.2, 0.1], np.float32), np.array([0.1, 0.2, -0.1])
    network = {"layer_0": {"kernel": jnp.asarray(mu[:, None]), "bias": jnp.zeros(1)}}
    agent = Agent(network, jnp.zeros(1), network, normalizer.init((states,)))
    reach = eps * np.abs(mu).sum()
    rng = np.random.default_rng(0)
    ends = rng.dirichlet(np.ones(states), (2, states))  # P(. | s, a) at a = -1 and at a = 1

    def reward(state: np.ndarray, action: np.ndarray) -> np.ndarray:
        return 0.5 * (1 + state) - (action - best[state]) ** 2

    def chances(state: np.ndarray, action: np.ndarray) -> np.ndarray:
        share = (1 + action)[..., None] / 2
        return (1 - share) * ends[0, state] + share * ends[1, state]

    place, box = np.arange(states)[:, None], np.linspace(mu - reach, mu + reach, 201, axis=1)
    worst = np.zeros(states)
    for _ in range(300):
        worst = (reward(place, box) + discount * chances(place, box) @ worst).min(1)
    nominal = np.zeros(states)
    for _ in range(300):
        nominal = (reward(place, mu[:, None]) + discount * chances(place, mu[:, None]) @ nominal)[:, 0]
    assert np.all(worst < 0.95 * nominal)  # the box is not small

    count = 8192
    here, taken = rng.integers(states, size=count), rng.uniform(-1, 1, count)
    there = (chances(here, taken).cumsum(1) < rng.uniform(size=(count, 1))).sum(1)
    one_hot = jnp.eye(states)
    seen = Transitions(
        x=one_hot[here],
        s_hat=one_hot[here],
        action=jnp.asarray(taken, jnp.float32)[:, None],
        reward=jnp.asarray(reward(here, taken), jnp.float32),
        x_next=one_hot[there],
        terminated=jnp.zeros(count, bool),
        value=jnp.zeros(count),
        next_value=jnp.zeros(count),
    )
    critic = wocar.start(Sizes(states, 1, False, (32, 32)), jax.random.key(0))
    learn = jax.jit(lambda critic, key: wocar.learn(critic, agent, seen, discount, eps, key))
    with as_users_compile():  # it computes more than it compiles
        for key in jax.random.split(jax.random.key(1), 60):
            critic = learn(critic, key)
    grid = np.linspace(-0.9, 0.9, 19)
    wanted = reward(place, grid[None]) + discount * chances(place, np.broadcast_to(grid, (3, 19))) @ worst
    found = jax.vmap(lambda x: jax.vmap(lambda a: wocar.value(critic.slow, x, a[None]))(jnp.asarray(grid)))(
        one_hot
    )
    np.testing.assert_allclose(found, wanted, rtol=0.05)
    chosen = jax.vmap(lambda x: wocar.worst_action(critic.slow, agent, x, eps))(one_hot)[:, 0]
    of_chosen = reward(place[:, 0], chosen) + discount * chances(place[:, 0], np.asarray(chosen)) @ worst
    np.testing.assert_allclose(of_chosen, worst, rtol=0.01)  # at the same corner of the box


def test_the_worst_action_of_a_box_is_its_worst_corner_for_a_linear_critic() -> None:
    agent = on_a_line()
    critic = {"layer_0": {"kernel": jnp.asarray([[0.0]] * 4 + [[2.0]]), "bias": jnp.zeros(1)}}
    worst = wocar.worst_action(critic, agent, X[0], EPS)
    np.testing.assert_allclose(worst, X[0] @ SLOPES - EPS * np.abs(SLOPES).sum(), rtol=1e-4)


def test_the_policy_is_led_by_both_critics() -> None:
    critic = wocar.start(Sizes(4, 1, False, (8,)), KEY)
    kept = wocar.gain(critic, BATCH, {"weight": 0.8}, 0.0)
    np.testing.assert_array_equal(kept.advantage, BATCH.advantage)
    led = wocar.gain(critic, BATCH, {"weight": 0.8}, 1.0)
    q = np.array([float(wocar.value(critic.slow, x, a)) for x, a in zip(BATCH.x, BATCH.action, strict=True)])
    wanted = 0.8 * np.linspace(-1, 1, 32).std() * (q - q.mean()) / q.std()
    np.testing.assert_allclose(led.advantage - kept.advantage, wanted, rtol=1e-2, atol=1e-3)
