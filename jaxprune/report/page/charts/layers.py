"""Where the zeros are: the sparsity of every layer."""

import polars as pl

from jaxprune.analysis import without_diverged
from jaxprune.report.page.charts.chart import Chart, Choice, listed, named, rounded, tags


def layers_chart(layers: pl.DataFrame) -> Chart:
    """The share of zeros of each layer (rows) at each sparsity asked (columns), mean over seeds.

    layers: of the schema `LAYERS`.
    """
    share = pl.col("zeros") / pl.col("size")
    kept = without_diverged(layers).with_columns(share=share)
    arms = kept["arm"].unique(maintain_order=True).to_list()
    traces, told = [], []
    for arm in arms:
        own = kept.filter(arm=arm)
        asked = own["sparsity_asked"].unique().sort().to_list()
        names = own.select("network", "layer", "size").unique().sort("network", "layer")
        means = own.group_by("network", "layer", "sparsity_asked").agg(pl.mean("share"))
        cells = {(net, layer, at): mean for net, layer, at, mean in means.iter_rows()}
        labels = [f"{net} {layer + 1} ({size:,} weights)" for net, layer, size in names.iter_rows()]
        rows = [rounded(cells.get((net, layer, at)) for at in asked) for net, layer, _ in names.iter_rows()]
        traces.append(
            {
                "type": "heatmap",
                "x": [f"{at:.2f}" for at in asked],
                "y": labels,
                "z": rows,
                "zmin": 0,
                "zmax": 1,
                "colorscale": "Cividis",
                "colorbar": {"title": {"text": "share<br>of zeros"}, "thickness": 14},
                "texttemplate": "%{z:.2f}",
                "meta": tags(arm),
                "hovertemplate": "%{y}<br>sparsity asked %{x}: %{z:.3f} zeros<extra></extra>",
            }
        )
        last = {label: row[-1] for label, row in zip(labels, rows, strict=True)}
        most, least = (choose(last, key=lambda label: last[label] or 0.0) for choose in (max, min))
        told.append(
            f"{named(arm, arms, f'at sparsity {asked[-1]:.2f}')} from {last[least]:.2f} in {least} to "
            f"{last[most]:.2f} in {most}"
        )
    return Chart(
        "layers",
        "Sparsity of every layer",
        f"Share of weights that are zero in each layer: {listed(told)}.",
        "Mean over seeds; layers from the observation to the action.",
        traces,
        {
            "xaxis": {"title": {"text": "sparsity asked"}, "type": "category"},
            "yaxis": {"autorange": "reversed", "automargin": True},
        },
        (Choice("arm", "arm"),),
    )
