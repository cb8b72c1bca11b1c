"""Scores order the weights: by size, or by a lottery whose tickets are fixed by the key."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprune import SpecError
from jaxprune.pruning import SCORES, Score, masks, score, scores

KEY = jax.random.key(0)


def weights(seed=0, shape=(20, 10)):
    rng = np.random.default_rng(seed)
    return {f"layer_{i}": jnp.asarray(rng.normal(size=shape), jnp.float32) for i in range(2)}


def test_magnitude_is_the_absolute_weight():
    found = score("magnitude").of({"layer_0": jnp.asarray([[-2.0, 0.5], [0.0, -0.1]])}, KEY)
    np.testing.assert_array_equal(found["layer_0"], np.float32([[2.0, 0.5], [0.0, 0.1]]))


def test_random_keeps_its_order_with_the_same_key_whatever_the_weights():
    one, other = score("random").of(weights(0), KEY), score("random").of(weights(1), KEY)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


def test_random_has_another_order_with_another_key():
    one, other = score("random").of(weights(), KEY), score("random").of(weights(), jax.random.key(1))
    assert not np.array_equal(one["layer_0"], other["layer_0"])


def test_random_draws_each_layer_afresh():
    found = score("random").of(weights(), KEY)
    assert abs(np.corrcoef(np.ravel(found["layer_0"]), np.ravel(found["layer_1"]))[0, 1]) < 0.35


def test_random_has_no_ties():
    found = score("random").of(weights(shape=(64, 64)), KEY)
    assert len(np.unique(found["layer_0"])) > 0.99 * 64 * 64


def test_random_tells_nothing_of_the_weights():
    network = weights(shape=(64, 64))
    found = score("random").of(network, KEY)
    correlation = np.corrcoef(np.ravel(found["layer_0"]), np.abs(np.ravel(network["layer_0"])))[0, 1]
    assert abs(correlation) < 5 / 64


def test_scores_of_evidence_by_hand():
    w, seen = {"layer_0": jnp.asarray([[-2.0, 0.5]])}, {"layer_0": jnp.asarray([[0.1, -3.0]])}
    of = lambda name, **evidence: score(name).of(w, KEY, evidence)["layer_0"]  # noqa: E731
    np.testing.assert_allclose(of("saliency", gradients=seen), [[0.2, 1.5]], rtol=1e-6)
    np.testing.assert_allclose(of("wanda", inputs=jax.tree.map(abs, seen)), [[0.2, 1.5]], rtol=1e-6)
    np.testing.assert_allclose(of("fisher", fisher=jax.tree.map(abs, seen)), [[0.2, 0.375]], rtol=1e-6)


def test_movement_is_signed_and_adds_up():
    w = {"layer_0": jnp.asarray([[-2.0, 0.5, 1.0, 1.0]])}
    first = {"layer_0": jnp.asarray([[-1.0, -1.0, 1.0, 0.5]])}
    then = {"layer_0": jnp.asarray([[1.0, 1.0, -3.0, 0.5]])}
    after_one = score("movement").of(w, KEY, {"gradients": first})
    np.testing.assert_allclose(after_one["layer_0"], [[-2.0, 0.5, -1.0, -0.5]])
    after_two = score("movement").of(w, KEY, {"gradients": then, "before": after_one})
    np.testing.assert_allclose(after_two["layer_0"], [[0.0, 0.0, 2.0, -1.0]])
    # The lowest go, large negative ones included.
    np.testing.assert_array_equal(masks.lowest_removed(after_one, 0.5)["layer_0"], [[0, 1, 0, 1]])


def test_an_unknown_score_is_refused_by_name():
    with pytest.raises(SpecError, match=r"score.*'magnitud'.*'magnitude'"):
        score("magnitud")


def kept(*given):
    return given[-1]


@pytest.mark.parametrize(
    ("needs", "place"), [(("weights",), 0), (("key", "weights"), 0), (("weights", "key", "gradients"), 2)]
)
def test_a_rule_is_given_what_it_needs_in_its_order(needs, place):
    gradients = weights(1)
    found = Score("mine", "", kept, needs).of(weights(0), KEY, {"gradients": gradients})
    assert Score("mine", "", kept, needs).evidence == (("gradients",) if place == 2 else ())
    for name, leaf in (gradients if place == 2 else weights(0)).items():
        np.testing.assert_array_equal(found[name], leaf)


def test_before_the_first_batch_the_gradients_are_ones():
    found = Score("mine", "", kept, ("gradients",)).of(weights(), KEY)
    assert {name: leaf.shape for name, leaf in found.items()} == {"layer_0": (20, 10), "layer_1": (20, 10)}
    assert all((leaf == 1).all() for leaf in found.values())


def test_a_name_is_listed_once_and_needs_are_known():
    with pytest.raises(SpecError, match="score: 'random' is listed already"):
        scores.add(Score("random", "", kept))
    with pytest.raises(SpecError, match=r"needs: unknown name 'gradient'; did you mean 'gradients'\?"):
        scores.add(Score("mine", "", kept, needs=("gradient",)))
    assert "mine" not in SCORES


@pytest.mark.parametrize("name", SCORES)
def test_a_listed_score_is_one_finite_number_per_weight(name):
    found = score(name).of(weights(0), KEY, dict.fromkeys(score(name).evidence, weights(1)))
    assert score(name).name == name
    assert score(name).about
    for layer, leaf in weights(0).items():
        assert found[layer].shape == leaf.shape
        assert np.isfinite(found[layer]).all()
