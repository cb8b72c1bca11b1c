"""A spec is checked: ranges are read exactly, and each mistake is one line naming its field."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxprune import Budget, SpecError, SweepSpec
from jaxprune.attacks import ready
from jaxprune.policy import ACTIVATIONS
from jaxprune.pruning import SCHEDULES, SCOPES


@pytest.mark.parametrize(
    ("given_", "wanted"),
    [
        ("0:0.9:0.1", (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)),
        ("0:0.9:0.3", (0.0, 0.3, 0.6, 0.9)),
        ("0.9:0:-0.3", (0.9, 0.6, 0.3, 0.0)),
        ("0:0.5:0.2", (0.0, 0.2, 0.4)),
        ("0.5:0.5:0.1", (0.5,)),
        ("0,0.5, 0.95", (0.0, 0.5, 0.95)),
        ("0.5", (0.5,)),
        ((0.0, 0.25), (0.0, 0.25)),
    ],
)
def test_a_range_or_a_list_of_sparsities_is_read_exactly(given_, wanted):
    assert SweepSpec(sparsities=given_).sparsities == wanted


@given(thousandths=st.lists(st.integers(0, 999), min_size=1, max_size=6, unique=True))
def test_a_comma_list_is_the_tuple_of_its_numbers(thousandths):
    numbers = tuple(i / 1000 for i in thousandths)
    assert SweepSpec(sparsities=",".join(map(str, numbers))).sparsities == numbers


@given(step=st.integers(1, 50), count=st.integers(1, 19))
def test_a_range_holds_its_stop_and_every_decimal_on_the_way(step, count):
    stop = step * (count - 1) / 1000
    wanted = tuple(step * i / 1000 for i in range(count))
    assert SweepSpec(sparsities=f"0:{stop}:{step / 1000}").sparsities == wanted


def test_published_budgets_are_those_of_the_task():
    assert SweepSpec(env="hopper").budgets == (Budget(0.075),)
    assert SweepSpec(env="halfcheetah", space="raw").budgets == (Budget(0.15, space="raw"),)
    assert SweepSpec(env="probe/linear", norm="l2").budgets == (Budget(0.1, "l2"),)


def test_budgets_may_be_ranges():
    assert SweepSpec(eps="0.05:0.15:0.05").budgets == tuple(map(Budget, (0.05, 0.1, 0.15)))


def test_attacks_are_a_comma_list():
    assert SweepSpec(attacks="random, mad").attacks == ("random", "mad")


def test_a_mask_from_the_start_is_random_by_itself():
    for name in ("static", "set", "rigl"):
        assert SweepSpec(schedule=name).ranking == "random"
    assert SweepSpec(schedule="gradual").ranking == "magnitude"


def test_iterations_are_whole():
    assert SweepSpec(steps=2048 * 3 - 1).iterations == 2
    assert SweepSpec(steps=2048 * 3).iterations == 3


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_may_be_asked_for(name):
    assert SweepSpec(schedule=name).schedule == name


@pytest.mark.parametrize(
    ("field", "names"),
    [("scope", SCOPES), ("activation", ACTIVATIONS), ("attacks", sorted({*ready()} - {"none"}))],
)
def test_every_known_name_is_accepted(field, names):
    for name in names:
        SweepSpec(**{field: name})


BAD = [
    ("env", "hoper"),
    ("env", ""),
    ("physics", "bullet"),
    ("sparsities", ""),
    ("sparsities", "a,b"),
    ("sparsities", "0:0.9"),
    ("sparsities", "0:0.9:0.1:0.1"),
    ("sparsities", "0:0.9:0"),
    ("sparsities", "0:0.9:-0.1"),
    ("sparsities", "0:0.9:1e-9"),
    ("sparsities", "0:0.9:1e-5000"),
    ("sparsities", "0:1:0.5"),
    ("sparsities", "-0.1"),
    ("sparsities", "nan"),
    ("sparsities", "0.5,0.5"),
    ("sparsities", "0.3,0.30000000001"),
    ("sparsities", (1.0,)),
    ("sparsities", (float("nan"),)),
    ("sparsities", ()),
    ("seeds", 0),
    ("seeds", -1),
    ("seeds", "3:3"),
    ("seeds", "5:3"),
    ("seeds", "0:3,2"),
    ("seeds", "-1:3"),
    ("seeds", "0:2:1"),
    ("seeds", "0:3000000000"),
    ("steps", 0),
    ("steps", 2047),
    ("schedule", "gradul"),
    ("score", "size"),
    ("scope", "network"),
    ("attacks", ""),
    ("attacks", "madd"),
    ("attacks", "mad,,random"),
    ("attacks", "mad,mad"),
    ("attacks", ()),
    ("eps", "-0.1"),
    ("eps", "inf"),
    ("eps", "0.1,0.1"),
    ("eps", "publishd"),
    ("eps", ()),
    ("eps", "0:1e999999:1e-999999"),
    ("norm", "l1"),
    ("space", "normalized"),
    ("episodes", 0),
    ("certify_episodes", 1),
    ("selection_episodes", 0),
    ("verdict_error", 0.0),
    ("head", "beta"),
    ("hidden", ()),
    ("hidden", (64, 0)),
    ("activation", "sigmoid"),
    ("environments", 0),
    ("unroll", 0),
    ("epochs", 0),
    ("minibatches", 0),
    ("minibatches", 3),
    ("learning_rate", 0.0),
    ("learning_rate", float("nan")),
    ("learning_rate", float("inf")),
    ("discount", 1.0),
    ("discount", -0.1),
    ("gae_lambda", 1.1),
    ("gae_lambda", float("nan")),
    ("clip", 0.0),
    ("entropy_weight", -1.0),
    ("value_weight", float("inf")),
    ("max_gradient_norm", 0.0),
]


def problem(**fields):
    with pytest.raises(SpecError) as caught:
        SweepSpec(**fields)
    return str(caught.value)


@pytest.mark.parametrize(("field", "value"), BAD, ids=lambda part: str(part) or "empty")
def test_a_bad_value_is_refused_in_one_line_that_names_the_field(field, value):
    text = problem(**{field: value})
    assert field.removesuffix("s") in text.split(":")[0]
    assert "\n" not in text


@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [
        ("env", "hoper", "'hoper'"),
        ("physics", "bullet", "'bullet'"),
        ("sparsities", "0:0.9", "'0:0.9'"),
        ("sparsities", (1.25,), "1.25"),
        ("schedule", "gradul", "'gradul'"),
        ("attacks", "mad,madd", "'madd'"),
        ("eps", "-0.1", "-0.1"),
        ("seeds", -3, "-3"),
        ("minibatches", 3, "3"),
        ("hidden", (64, 0), "(64, 0)"),
        ("certify_episodes", 1, "1"),
        ("discount", 1.5, "1.5"),
    ],
)
def test_the_message_shows_the_value(field, value, shown):
    assert shown in problem(**{field: value})


def test_a_near_miss_is_met_with_a_suggestion():
    assert "did you mean 'gradual'?" in problem(schedule="gradul")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"networks": "crtic"}, "did you mean 'critic'?"),
        ({"networks": "both", "score": "fisher"}, "score: 'fisher' is about a policy"),
        ({"networks": "critic", "schedule": "posthoc"}, "schedule: 'posthoc' prunes policies only"),
        ({"networks": "both", "schedule": "lottery"}, "use oneshot, gradual, micro, static"),
    ],
    ids=str,
)
def test_what_a_critic_cannot_be_pruned_by_is_refused(fields, said):
    assert said in problem(**fields)


CONTRADICTIONS = [
    ({"schedule": "rigl", "score": "movement"}, "score: schedule 'rigl' has its mask before the training"),
    ({"schedule": "static", "score": "hydra"}, "score: schedule 'static' has its mask before the training"),
    ({"schedule": "set", "scope": "unit"}, "scope: schedule 'set' exchanges single weights"),
    (
        {"schedule": "lottery", "steps": 4 * 2048},
        "steps: 8192 are 4 PPO iterations; schedule 'lottery' has 5",
    ),
    ({"score": "hydra", "schedule": "micro"}, "score: 'hydra' is learned for one sparsity"),
    ({"score": "grasp", "scope": "unit"}, "scope: score 'grasp' can be negative"),
]


@pytest.mark.parametrize(("fields", "said"), CONTRADICTIONS, ids=lambda part: str(part))
def test_schedules_scores_and_scopes_that_contradict_each_other_are_refused_in_one_line(fields, said):
    text = problem(**fields)
    assert text.startswith(said)
    assert "\n" not in text


def test_a_physics_of_another_task_is_refused():
    assert "'native'" in problem(env="probe/linear", physics="native")


def test_a_batch_that_does_not_split_evenly_is_refused_with_the_numbers():
    text = problem(environments=3, unroll=10, minibatches=4)
    assert "minibatches" in text
    assert "30" in text


SPECS = [
    SweepSpec(),
    SweepSpec(
        env="probe/linear", sparsities=(0.1, 0.7), eps="0,0.3", hidden=(8,), attacks="mad", anneal=False
    ),
    SweepSpec(schedule="static", scope="global", norm="l2", space="raw", discount=0.9),
]


@pytest.mark.parametrize("spec", SPECS)
def test_a_spec_survives_its_dict(spec):
    assert SweepSpec.from_dict(spec.to_dict()) == spec


@pytest.mark.parametrize("spec", SPECS)
def test_a_spec_survives_json(spec):
    assert SweepSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_an_unknown_field_is_refused_by_name():
    with pytest.raises(SpecError, match="'sparsity'"):
        SweepSpec.from_dict({"sparsity": 0.5})


def test_what_a_file_says_is_checked_too():
    with pytest.raises(SpecError, match=r"discount: 2\.0"):
        SweepSpec.from_dict(SweepSpec().to_dict() | {"discount": 2.0})
