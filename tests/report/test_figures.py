import matplotlib
import numpy as np
import polars as pl
import pytest
from matplotlib.image import imread

from jaxprune.analysis import STRONGEST, Student, decompose
from jaxprune.report import bounds_figure, heading, regret_figure, returns_figure, save, training_figure
from jaxprune.report.figures import population_figures

PNG = b"\x89PNG\r\n\x1a\n"


def line(axes, label):
    (found,) = [line for line in axes.get_lines() if line.get_label() == label]
    return found


def texts(axes):
    return [text.get_text() for text in axes.texts]


@pytest.mark.parametrize("seeds", [1, 3])
def test_every_figure_is_a_png_of_the_size_asked_and_leaves_no_trace(synthetic, tmp_path, seeds):
    before = dict(matplotlib.rcParams)
    results, size = synthetic.results(seeds, budgets=(0.075,)), (6.0, 4.0)
    title = heading(results)
    figures = {
        "returns": returns_figure(results, title, panel=size),
        "bounds": bounds_figure(synthetic.certificates(seeds, budgets=(0.075,)), title, panel=size),
        "regret": regret_figure(decompose(results), title, panel=size),
        "training": training_figure(synthetic.curves(seeds, iterations=5), title, panel=size),
    }
    for name, figure in figures.items():
        path = save(figure, tmp_path / "new" / f"{name}.png", dpi=50)
        assert path.read_bytes().startswith(PNG)
        assert imread(path).shape[:2] == (200, 300)
        assert title in figure.get_suptitle()
    assert dict(matplotlib.rcParams) == before


def test_there_is_a_panel_for_each_budget_two_to_a_row(synthetic):
    figure = returns_figure(synthetic.results(1, budgets=(0.01, 0.02, 0.03)), "title", panel=(5.0, 4.0))
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        f"eps = {eps} (linf norm, normalised observations)" for eps in ("0.01", "0.02", "0.03")
    ]
    assert figure.get_size_inches().tolist() == [10, 8]


def test_lines_of_return_are_the_means_over_seeds(synthetic):
    results = synthetic.results(3, budgets=(0.075,))
    (axes,) = returns_figure(results, "title").axes
    means = results.group_by("attack", "sparsity").agg(pl.mean("return_mean")).sort("sparsity")
    for label, attack in {"clean": "none", "mad": "mad"}.items():
        expected = means.filter(attack=attack)
        np.testing.assert_allclose(line(axes, label).get_xdata(), expected["sparsity"])
        np.testing.assert_allclose(line(axes, label).get_ydata(), expected["return_mean"])
    lowest = (
        results.filter(pl.col("attack") != "none").group_by("member", "sparsity").agg(pl.min("return_mean"))
    )
    worst = lowest.group_by("sparsity").agg(pl.mean("return_mean")).sort("sparsity")["return_mean"]
    np.testing.assert_allclose(line(axes, "strongest attack").get_ydata(), worst)
    assert {"clean", "strongest attack", "mad", "random", "critic", "pa-ad"} == set(texts(axes))


def test_one_seed_shows_the_spread_of_episodes_and_says_so(synthetic):
    one = returns_figure(synthetic.results(1, budgets=(0.075,)), "title")
    several = returns_figure(synthetic.results(3, budgets=(0.075,)), "title")
    assert "standard deviation of the 100 episodes, not an interval" in one.get_supxlabel()
    assert "95% Student t interval over 3 seeds" in several.get_supxlabel()
    single = synthetic.results(1, budgets=(0.075,)).with_columns(episodes=pl.lit(1, pl.Int64))
    assert "of the 1 episode, not" in returns_figure(single, "title").get_supxlabel()
    sure = returns_figure(synthetic.results(3, budgets=(0.075,)), "title", Student(0.999))
    assert "99.9% Student t interval over 3 seeds" in sure.get_supxlabel()
    assert len(one.axes[0].containers) == 2  # the error bars of the clean line and of the strongest attack
    assert not several.axes[0].containers
    (bars,) = one.axes[0].containers[0].lines[2]
    spread = synthetic.results(1, budgets=(0.075,)).filter(attack="none").sort("sparsity")["return_std"]
    np.testing.assert_allclose([(y[1, 1] - y[0, 1]) / 2 for y in bars.get_segments()], spread)


@pytest.mark.parametrize(
    ("quantity", "unit"),
    [
        ("delta", "(in the policy's standard deviations)"),
        ("delta_dense", "(in the dense policy's standard deviations)"),
        ("delta_action", "(in units of the action)"),
    ],
)
def test_a_bound_is_drawn_in_its_unit(synthetic, quantity, unit):
    table = synthetic.certificates(1, budgets=(0.075,)).filter(quantity="delta")
    figure = bounds_figure(table.with_columns(quantity=pl.lit(quantity)), "title", quantity)
    assert figure.axes[0].get_ylabel().endswith(unit)


def test_bars_stack_to_the_table(synthetic):
    regret = decompose(synthetic.results(1, budgets=(0.075,)))
    # One member whose pruning loss is negative: its bar must hang below zero.
    regret = regret.with_columns(
        pruning_loss=pl.when(sparsity_asked=0.5).then(-300.0).otherwise("pruning_loss"),
        total=pl.when(sparsity_asked=0.5)
        .then(pl.col("total") - pl.col("pruning_loss") - 300)
        .otherwise("total"),
    )
    (axes,) = regret_figure(regret, "title").axes
    rows = regret.filter(attack=STRONGEST).sort("sparsity")
    bars = {bar.get_label(): bar for bar in axes.containers}
    terms = ("clean_regret", "pruning_loss", "robustness_gap")
    tops, bottoms = np.zeros(rows.height), np.zeros(rows.height)
    for term in terms:
        (label,) = [label for label in bars if label.startswith(term.replace("_", " "))]
        heights = np.array([patch.get_height() for patch in bars[label]])
        feet = np.array([patch.get_y() for patch in bars[label]])
        np.testing.assert_allclose(heights, rows[term])
        np.testing.assert_allclose(feet, np.where(heights >= 0, tops, bottoms))
        tops, bottoms = tops + np.maximum(heights, 0), bottoms + np.minimum(heights, 0)
    assert bottoms.min() == pytest.approx(-300)
    (total,) = [line for line in axes.get_lines() if line.get_label().startswith("total")]
    np.testing.assert_allclose(total.get_ydata(), rows["total"])
    np.testing.assert_allclose(rows["total"], tops + bottoms)


def band_of(axes):
    """The lowest and highest point of all bands."""
    ends = np.concatenate([band.get_paths()[0].vertices[:, 1] for band in axes.collections])
    return ends.min(), ends.max()


def test_a_band_is_students_interval(synthetic):
    results = synthetic.results(8, budgets=(0.075,))
    (axes,) = returns_figure(results, "title").axes
    clean = results.filter(attack="none", sparsity_asked=0.5)["return_mean"]
    estimate = Student().mean(clean)
    vertices = axes.collections[0].get_paths()[0].vertices
    ends = sorted(set(vertices[np.isclose(vertices[:, 0], 0.5), 1]))
    assert ends == pytest.approx([estimate.low, estimate.high])


def test_the_bands_of_two_seeds_are_cut_and_the_note_says_so(synthetic):
    apart = pl.col("return_mean") + 500 * pl.col("seed")
    two = synthetic.results(2, budgets=(0.075,)).with_columns(return_mean=apart, selection_mean=apart)
    many = synthetic.results(8, budgets=(0.075,))
    figure = returns_figure(two, "title")
    (axes,) = figure.axes
    assert ", cut at the edge" in figure.get_supxlabel()
    bottom, top = axes.get_ylim()
    assert top - bottom < 3 * (two["return_mean"].max() - two["return_mean"].min())
    assert bottom <= two["return_mean"].min() and two["return_mean"].max() <= top
    low, high = band_of(axes)
    assert bottom - 1e-6 <= low and high <= top + 1e-6
    assert "cut" not in returns_figure(many, "title").get_supxlabel()

    regret = decompose(two)
    cut = regret_figure(regret, "title")
    assert ", cut at the edge" in cut.legends[0].get_title().get_text()
    assert "cut" not in regret_figure(decompose(many), "title").legends[0].get_title().get_text()

    bounds = bounds_figure(synthetic.certificates(2, budgets=(0.075,)), "title")
    assert ", cut at the edge" in bounds.get_supxlabel()
    assert "cut" not in bounds_figure(synthetic.certificates(8, budgets=(0.075,)), "title").get_supxlabel()


def test_what_diverged_is_in_the_title_and_not_in_the_lines(synthetic):
    results = synthetic.results(3, budgets=(0.075,))
    spoilt = results.with_columns(
        diverged=pl.col("member") == 3, return_mean=pl.when(member=3).then(-1e6).otherwise("return_mean")
    )
    assert heading(spoilt).endswith("3 seeds, 1 of 24 members diverged")
    (axes,) = returns_figure(spoilt, "title").axes
    clean = (
        results.filter(pl.col("member") != 3, attack="none").group_by("sparsity").agg(pl.mean("return_mean"))
    )
    np.testing.assert_allclose(line(axes, "clean").get_ydata(), clean.sort("sparsity")["return_mean"])
    (axes,) = regret_figure(decompose(spoilt), "title").axes
    assert axes.get_ylim()[1] < 1e4


def test_bounds_on_returns_say_whose_they_are(synthetic):
    figure = bounds_figure(synthetic.certificates(1, budgets=(0.075,)), "title", quantity="return")
    assert "clean episodes of sampled actions" in figure.axes[0].get_ylabel()


def test_monotone_bounds_are_solid_and_others_are_not(synthetic):
    (axes,) = bounds_figure(synthetic.certificates(3, budgets=(0.075,)), "title").axes
    styles = {name: line(axes, name).get_linestyle() for name in texts(axes)}
    assert styles == {"frobenius": "-", "path": "-", "spectral": "--", "interval": "--", "found": ":"}
    assert axes.get_yscale() == "log"


def test_numbers_of_a_logarithmic_axis_are_plain(synthetic):
    figure = bounds_figure(synthetic.certificates(1, budgets=(0.075,)), "title")
    figure.draw_without_rendering()
    axis = figure.axes[0].yaxis
    said = {label.get_text() for label in [*axis.get_ticklabels(), *axis.get_ticklabels(minor=True)]} - {""}
    assert said and all(f"{float(number):g}" == number for number in said)


def test_infinite_and_zero_bounds_are_left_out(synthetic):
    table = synthetic.certificates(1, budgets=(0.075,)).with_columns(
        value=pl.when(sparsity_asked=0.0)
        .then(float("inf"))
        .when(sparsity_asked=0.9)
        .then(0.0)
        .otherwise("value")
    )
    (axes,) = bounds_figure(table, "title").axes
    assert line(axes, "path").get_xdata()[[0, -1]].tolist() == [0.2, 0.8]


def test_training_lines_skip_iterations_without_an_episode(synthetic):
    upper, lower = training_figure(synthetic.curves(3, iterations=4), "title").axes
    assert len(upper.get_lines()[0].get_xdata()) == 3
    assert len(lower.get_lines()[0].get_xdata()) == 4
    assert texts(upper) == ["0.00", "0.20", "0.40", "0.50", "0.60", "0.70", "0.80", "0.90"]


def test_what_cannot_be_drawn_is_refused(synthetic):
    results = synthetic.results(1)
    with pytest.raises(ValueError, match="Return against sparsity: the table has no rows"):
        returns_figure(results.filter(attack="none"), "title")
    with pytest.raises(ValueError, match="all with a dense twin"):
        regret_figure(decompose(results.filter(pl.col("sparsity_asked") > 0)), "title")
    with pytest.raises(ValueError, match=r"quantity='kl': no such rows; there are \['delta', 'return'\]"):
        bounds_figure(synthetic.certificates(1), "title", quantity="kl")
    with pytest.raises(ValueError, match="nothing to draw"):
        training_figure(synthetic.curves(1).clear(), "title")


def test_a_population_has_the_figures_that_there_is_something_to_draw_in(synthetic):
    results, certificates = synthetic.results(2), synthetic.certificates(2)
    pruned = results.filter(pl.col("sparsity_asked") > 0)
    gone = results.with_columns(diverged=pl.lit(True))
    for rows, bounds, wanted in (
        (results, certificates, {"returns", "bounds", "regret"}),
        (results, certificates.clear(), {"returns", "regret"}),
        (pruned, certificates, {"returns", "bounds"}),
        (gone, certificates, set()),
    ):
        assert population_figures(rows, bounds, decompose(rows)).keys() == wanted


def test_running_means_are_said_to_be_some(synthetic):
    of_many, of_few = (training_figure(synthetic.curves(1, count), "title") for count in (120, 20))
    assert "; running mean of 5 iterations" in of_many.axes[0].get_title("left")
    assert "running mean" not in of_few.axes[0].get_title("left")
