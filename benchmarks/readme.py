"""The tables of README and docs: kept from run folders as small files, and written into the pages from those.

    python -m benchmarks.readme --keep six_seeds runs/NAME     # of a sweep, an attack or certificates
    python -m benchmarks.readme                                # write all tables into the pages

A table stands in a page between `<!-- table: NAME -->` and `<!-- end -->`. NAME is that of a kept run
(`benchmarks/results/NAME.csv` with where it came from in `NAME.json`), or `FILE.md N`: the N-th table of a
result, or `FILE.md HEADING N`: the N-th under that heading of it.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import tyro

from experiments.command import in_one_line
from jaxprune.analysis import STRONGEST, without_diverged
from jaxprune.report.numbers import number, signed

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
BLOCK = re.compile(r"(<!-- table: (?P<name>[^>]+?) -->\n).*?(<!-- end -->)", re.DOTALL)
TIGHTEST = "tightest"


@dataclass(frozen=True)
class Arguments:
    """Write the tables of all pages, or keep what one of them needs of a run."""

    keep: tuple[str, Path] | None = None
    """Name of the table, and folder of the run."""


def main(arguments: Arguments) -> None:
    """Keep a run, or rewrite the pages."""
    if arguments.keep is not None:
        keep(*arguments.keep)
        return
    for page in pages():
        page.write_text(written(page.read_text()))


def pages() -> list[Path]:
    """The README, and what else holds tables."""
    results = sorted((ROOT / "docs" / "results").glob("*.md"))
    return [ROOT / "README.md", *results]


def keep(name: str, run: Path) -> None:
    """Write the small table of a run, and where it came from."""
    about, summary = next((a, s) for a, s in KINDS.items() if (run / a).is_file())
    summary(run).write_csv(RESULTS / f"{name}.csv")
    content = json.loads((run / about).read_text())
    origin = {
        key: content[key] for key in ("command", "commit", "machine", "device", "precision", "versions")
    }
    origin["command"] = re.sub(r" --out \S+", "", origin["command"])  # a folder of the machine it ran on
    (RESULTS / f"{name}.json").write_text(json.dumps(origin, indent=2) + "\n")


def written(text: str) -> str:
    """A page with all its tables made anew."""
    return BLOCK.sub(lambda block: f"{block[1]}{table(block['name'])}\n{block[3]}", text)


def table(name: str) -> str:
    """A table as Markdown."""
    if ".md" in name:
        file, *heading, place = name.split(" ")
        text = (RESULTS / file).read_text()
        return _tables(_under(" ".join(heading), text) if heading else text)[int(place) - 1]
    rows = pl.read_csv(RESULTS / f"{name}.csv")
    lines = [
        f"| {' | '.join(rows.columns)} |",
        "|---" * rows.width + "|",
        *(f"| {' | '.join('' if cell is None else str(cell) for cell in row)} |" for row in rows.iter_rows()),
    ]
    return "\n".join(lines) + f"\n\n{_origin(json.loads((RESULTS / f'{name}.json').read_text()))}"


def _origin(about: dict) -> str:
    where = _where(about)
    if "evaluated" in about:  # what was trained on an accelerator and measured under another physics
        where = f"trained on {where}; evaluated and certified on {_where(about['evaluated'])}"
    commit, changes, _ = about["commit"].partition("+")
    return f"`{about['command']}`, commit {commit[:10]}{' with changes' if changes else ''}, {where}."


def _where(about: dict) -> str:
    versions = about["versions"]
    packages = ", ".join(f"{name} {versions[name]}" for name in ("jaxprune", "jaxlib", "mujoco"))
    return f"{about['machine']['cores']} cores, {about['device']['kind']}, {packages}"


def _under(heading: str, text: str) -> str:
    """What stands under a heading of the second level."""
    return next(
        part for part in re.split(r"^## ", text, flags=re.MULTILINE) if part.startswith(f"{heading}\n")
    )


def _tables(text: str) -> list[str]:
    """The Markdown tables in a text, in order."""
    return [match.strip() for match in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE)]


# --- what is kept of a run ---------------------------------------------------------------------------------


def of_sweep(run: Path) -> pl.DataFrame:
    """A row per quantity and a column per sparsity: returns, verdict and bounds of a sweep."""
    certificates = without_diverged(pl.read_csv(run / "certificates.csv"))
    distances = certificates.filter(pl.col("quantity").is_in(["delta", "range"]))
    bounds = {
        "path bound on delta (monotone)": distances.filter(pl.col("bound") == "path"),
        "CROWN on delta": distances.filter(pl.col("bound") == "crown"),
        "largest delta found": distances.filter(pl.col("bound") == "mad"),
    }
    means = {name: _by_sparsity(rows, "value") for name, rows in bounds.items()}
    return _returns(run).vstack(_wide({k: _texts(v) for k, v in means.items()}))


def of_attack(run: Path) -> pl.DataFrame:
    """The same for the attack of a run, without bounds."""
    return _returns(run)


def of_certify(run: Path) -> pl.DataFrame:
    """A row per ball and direction, a column per sparsity: at how many states pruning moved what."""
    audit = pl.read_csv(run / "audit.csv").filter(pl.col("bound") == TIGHTEST)
    rows = {
        f"proven {way}, {ball} ball": dict(
            audit.filter(ball=ball).sort("sparsity_asked").select("sparsity_asked", column).iter_rows()
        )
        for ball in ("own", "dense")
        for way, column in (("larger", "proven_above"), ("smaller", "proven_below"))
    }
    return _wide({name: {asked: str(count) for asked, count in row.items()} for name, row in rows.items()})


def _returns(run: Path) -> pl.DataFrame:
    regret = pl.read_csv(run / "regret.csv")
    rows = without_diverged(regret.filter(pl.col("attack") == STRONGEST))
    spots = pl.read_csv(run / "verdicts.csv").filter(~pl.col("placebo"))
    judged = {row["sparsity_asked"]: row for row in spots.iter_rows(named=True)}

    def shown(write: Callable[[dict], str]) -> dict[float, str]:
        return {asked: write(row) for asked, row in judged.items()}

    return _wide(
        {
            "clean": _texts(_by_sparsity(rows, "clean_return")),
            "under the strongest attack": _texts(_by_sparsity(rows, "attacked_return")),
            "attacked, minus dense": shown(lambda r: _difference(r, "attacked")),
            "p, adjusted": shown(lambda r: _p(r["attacked_p"])),
            "clean, minus dense": shown(lambda r: _difference(r, "clean")),
            "verdict": shown(lambda r: r["verdict"]),
        }
    )


def _difference(row: dict, what: str) -> str:
    sd = row[f"{what}_sd"]
    return signed(row[f"{what}_difference"]) + ("" if sd is None else f" (sd {number(sd)})")


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _by_sparsity(rows: pl.DataFrame, column: str) -> dict[float, float]:
    return dict(rows.group_by("sparsity_asked").agg(pl.mean(column)).sort("sparsity_asked").iter_rows())


def _texts(values: dict[float, float]) -> dict[float, str]:
    return {asked: number(value) for asked, value in values.items()}


def _wide(rows: dict[str, dict[float, str]]) -> pl.DataFrame:
    sparsities = sorted({asked for row in rows.values() for asked in row})
    columns = {"sparsity": [*rows]} | {
        f"{asked:g}": [row.get(asked, "") for row in rows.values()] for asked in sparsities
    }
    return pl.DataFrame(columns)


KINDS = {"attack.json": of_attack, "certify.json": of_certify, "spec.json": of_sweep}
"""How a folder of each kind is told, and what is kept of it."""


if __name__ == "__main__":
    with in_one_line():
        main(tyro.cli(Arguments))
