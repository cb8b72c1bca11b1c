"""What a run has to say: which words, tables and charts, by the command that wrote it."""

from collections.abc import Callable
from dataclasses import dataclass, field

import polars as pl
from rich.table import Table

from jaxprune.analysis import CERTIFICATES, CLEAN, FAMILY, RESULTS, STRONGEST, without_diverged
from jaxprune.report.attacked_returns import attacked_returns_words
from jaxprune.report.audit import TIGHTEST, audit_words, theorem_line
from jaxprune.report.effort import search_alarms, strongest_table, transfer_tables
from jaxprune.report.figures import heading
from jaxprune.report.one_policy import attack_words, policy_words
from jaxprune.report.page import charts, warnings
from jaxprune.report.page.asked import asked
from jaxprune.report.page.charts import Chart
from jaxprune.report.page.run import ATTACK, AUDIT, CERTIFY, SHIFT, SWEEP, Run
from jaxprune.report.page.took import took
from jaxprune.report.shifts import shift_words
from jaxprune.report.summary import sweep_words
from jaxprune.report.verdict import ALPHA, attack_lines, sweet_spot_lines, tight_line
from jaxprune.report.words import Words


@dataclass
class Story:
    """What a run has to say.

    about: what it is about, a line per arm. asked: the settings. warnings: what must be known first. lines:
    what was found, in sentences; details: those that fewer will read. took: where the time went.
    """

    about: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    took: str = ""

    def take(self, words: Words, prefix: str = "") -> None:
        """Add what a report of one arm consists of."""
        self.warnings += [prefix + line for line in words.alarms]
        self.lines += [prefix + line for line in words.lines]
        for table in words.tables:
            table.title = f"{prefix}{table.title}"
        self.tables += words.tables


def tell(run: Run) -> Story:
    """The story of a run, as far as its tables go: what cannot be told is a warning."""
    story = Story(warnings=warnings.incomplete(run))
    _part(run, story, "what was asked", lambda: story.asked.extend(asked(run)))
    parts = {SWEEP: _sweep, ATTACK: _attack, CERTIFY: _certification, SHIFT: _shifts, AUDIT: _audit}
    _part(run, story, "the summary", lambda: parts[run.kind](run, story))
    _part(run, story, "where the time went", lambda: setattr(story, "took", took(run.phases)))
    return story


def _part(run: Run, story: Story, name: str, make: Callable[[], object]) -> None:
    """Make a part; where the tables are of a program that wrote others, say so in its place.

    What such tables provoke is not to be foreseen, and the rest of the page is to be read all the same.
    """
    try:
        make()
    except Exception as error:
        (said, *_) = str(error).splitlines() or [type(error).__name__]
        story.warnings.append(f"NOT SHOWN: {name} cannot be made of the tables of {run.author} ({said})")


def _chart(run: Run, story: Story, name: str, make: Callable[[], Chart]) -> None:
    _part(run, story, f"the chart of {name}", lambda: story.charts.append(make()))


def _alpha(run: Run) -> float:
    """The family-wise error of the run's verdicts."""
    for part in ("spec", "population"):
        error = (run.about.get(part) or {}).get("verdict_error")
        if error is not None:
            return float(error)
    return ALPHA


# --- sweeps ---------------------------------------------------------------------------------------------


def _sweep(run: Run, story: Story) -> None:
    tables = run.tables
    if run.has("results", "regret", "verdicts"):
        # Without certificates the rest can still be told.
        certificates = tables.get("certificates", CERTIFICATES.to_frame())
        _part(run, story, "the summary", lambda: _returns(run, story, certificates))
    if run.has("certificates"):
        certificates = tables["certificates"]
        _chart(run, story, "bounds", lambda: charts.bounds_chart(certificates))
    if run.has("curves"):
        _chart(run, story, "training", lambda: charts.training_chart(tables["curves"]))
    if run.has("layers"):
        _chart(run, story, "layers", lambda: charts.layers_chart(tables["layers"]))
    if run.has("attacked_returns"):
        _part(run, story, "the certified returns", lambda: _returned(run, story))
    if run.has("shifts", "shift_summary", "shift_verdicts"):
        _shifts(run, story)


def _returns(run: Run, story: Story, certificates: pl.DataFrame) -> None:
    """What a sweep says of returns, and who attacked."""
    results = run.tables["results"]
    _population(run, story, results, certificates)
    attacks = results.filter(pl.col("attack") != CLEAN)["attack"].unique().sort().to_list()
    story.warnings += warnings.weak_attacks(attacks)


def _returned(run: Run, story: Story) -> None:
    """Words, table and chart of the certified returns of a sweep."""
    story.take(attacked_returns_words(run.tables["attacked_returns"]))
    _draw_returned(run, story)


def _draw_returned(run: Run, story: Story) -> None:
    means = run.tables["attacked_returns"]
    if without_diverged(means).height:
        story.charts.append(charts.certified_chart(means))


def _population(run: Run, story: Story, results: pl.DataFrame, certificates: pl.DataFrame) -> None:
    """Words and charts of the returns of a population: of a sweep, or of an attack on one."""
    regret = run.tables["regret"]
    _part(run, story, "the summary", lambda: _words(run, story, results, certificates))
    verdicts = run.tables["verdicts"]
    _part(run, story, "how few seeds", lambda: story.warnings.extend(warnings.few_seeds(verdicts)))
    if not results["diverged"].all():
        _chart(run, story, "returns", lambda: charts.returns_chart(results))
        _chart(run, story, "the frontier", lambda: charts.frontier_chart(regret))
        _chart(run, story, "regret", lambda: charts.regret_chart(regret))


def _words(run: Run, story: Story, results: pl.DataFrame, certificates: pl.DataFrame) -> None:
    """What is said of every arm by itself."""
    regret, verdicts = run.tables["regret"], run.tables["verdicts"]
    story.warnings += warnings.vacuous(certificates)
    arms = results["arm"].unique(maintain_order=True).to_list()
    for arm in arms:
        of_results, of_regret, of_certificates, of_verdicts = (
            table.filter(pl.col("arm") == arm) for table in (results, regret, certificates, verdicts)
        )
        prefix = "" if len(arms) == 1 else f"{arm}: "
        story.about.append(heading(of_results))
        words = sweep_words(
            of_results,
            of_regret,
            of_certificates,
            of_verdicts,
            alpha=_alpha(run),
            arms=len(arms),
            everyone=results,
        )
        of_bounds = (theorem_line, tight_line) if of_certificates.height else ()
        judged = sweet_spot_lines(of_verdicts, _alpha(run), len(arms))
        story.details += [prefix + line for line in words.lines if line not in judged]
        bounds = [line(of_certificates) for line in of_bounds]
        story.take(words._replace(lines=[*judged, *attack_lines(of_regret), *bounds]), prefix)


# --- attacks --------------------------------------------------------------------------------------------


def _attack(run: Run, story: Story) -> None:
    tables = run.tables
    if run.has("results"):
        _part(run, story, "the effort of the search", lambda: _effort(run, story))
        returns = _of_members if run.has("regret", "verdicts") else _of_one_agent
        _part(run, story, "the summary", lambda: returns(run, story))
    if run.has("results", "tried"):
        _chart(run, story, "attackers tried", lambda: charts.tried_chart(tables["tried"], _sparsities(run)))
    if run.has("effort"):
        _chart(run, story, "effort", lambda: charts.effort_chart(tables["effort"]))
    if run.has("transfer"):
        _part(run, story, "transfer", lambda: story.tables.extend(transfer_tables(tables["transfer"])))


def _of_members(run: Run, story: Story) -> None:
    """What an attack left of the members of a sweep."""
    results = _of_a_run(run.tables["results"], run.tables["regret"])
    _population(run, story, results, CERTIFICATES.to_frame())


def _of_one_agent(run: Run, story: Story) -> None:
    """What an attack left of one agent at several sparsities."""
    results = run.tables["results"]
    _chart(run, story, "returns", lambda: charts.returns_chart(_of_an_agent(results)))
    if run.kind == ATTACK:
        story.take(attack_words(results))
    story.tables.append(strongest_table(results))


def _sparsities(run: Run) -> dict[int, float]:
    """Of every victim."""
    victims = run.tables["results"].select("member", pl.col("sparsity").round(2))
    return dict(victims.unique().iter_rows())


def _effort(run: Run, story: Story) -> None:
    """How hard was looked for attackers."""
    search = (run.about.get("search") or {}).get("search")
    story.warnings += search_alarms(run.tables["results"], run.tables.get("effort"), search)


def _of_a_run(results: pl.DataFrame, regret: pl.DataFrame) -> pl.DataFrame:
    """The results of an attack on the members of a sweep, as the table of that name of a sweep."""
    who = regret.select("member", *FAMILY, "seed", "sparsity_asked").unique(maintain_order=True)
    return _fresh(results).join(who, on="member").select(RESULTS.names()).cast(RESULTS)


def _of_an_agent(results: pl.DataFrame) -> pl.DataFrame:
    """The same for one agent at several sparsities."""
    return _fresh(results).with_columns(arm=pl.lit("agent"), seed=pl.lit(0), sparsity_asked="sparsity")


def _fresh(results: pl.DataFrame) -> pl.DataFrame:
    return results.filter(pl.col("episode_set") == "fresh", pl.col("attack") != STRONGEST)


# --- certificates ---------------------------------------------------------------------------------------


def _certification(run: Run, story: Story) -> None:
    if run.has("states", "members", "audit", "certificates", "returns"):
        _part(run, story, "the summary", lambda: _bounds(run, story))
    if run.has("members"):
        # The tightest lies on one of the others.
        drawn = (pl.col("ball") == "own") & (pl.col("bound") != TIGHTEST)
        _chart(run, story, "bounds", lambda: charts.bounds_chart(run.tables["members"].filter(drawn)))
    if run.has("attacked_returns"):
        _part(run, story, "the certified returns", lambda: _draw_returned(run, story))


def _bounds(run: Run, story: Story) -> None:
    """The words and tables of a certification, of every arm by itself."""
    tables, population = run.tables, run.about["population"]
    arms = tables["members"]["arm"].unique(maintain_order=True).to_list()
    for arm in arms:
        own = {name: rows.filter(pl.col("arm") == arm) for name, rows in tables.items() if "arm" in rows}
        words = audit_words(
            states=own["states"],
            members=own["members"],
            above=own["audit"],
            certificates=own["certificates"],
            returns=own["returns"],
            smoothing=own.get("smoothing"),
            votes=own.get("votes"),
            attacked_returns=own.get("attacked_returns"),
            confidence=run.about["certification"]["confidence"],
            post_hoc=population["pruned_post_hoc"],
        )
        story.take(words, "" if len(arms) == 1 else f"{arm}: ")
    story.warnings += warnings.vacuous(tables["certificates"])


# --- shifts ---------------------------------------------------------------------------------------------


def _shifts(run: Run, story: Story) -> None:
    if not run.has("shifts", "shift_summary", "shift_verdicts"):
        return
    shifts, summary, verdicts = (run.tables[name] for name in ("shifts", "shift_summary", "shift_verdicts"))
    arms = summary["arm"].unique(maintain_order=True).to_list()
    for arm in arms:
        of_shifts, of_summary, of_verdicts = (
            table.filter(pl.col("arm") == arm) for table in (shifts, summary, verdicts)
        )
        prefix = "shifted dynamics: " if len(arms) == 1 else f"{arm}, shifted dynamics: "
        story.take(shift_words(of_shifts, of_summary, of_verdicts, alpha=_alpha(run)), prefix)
    if not summary["diverged"].all():
        _chart(run, story, "shifts", lambda: charts.shifts_chart(shifts))


# --- audits of one policy -------------------------------------------------------------------------------


def _audit(run: Run, story: Story) -> None:
    """The verdict first; then what the certification and the attack have to say by themselves."""
    if run.has("results", "members", "certificates"):
        _part(run, story, "the verdict", lambda: _verdict(run, story))
    rest = Story()
    _attack(run, rest)
    _certification(run, rest)
    story.warnings += rest.warnings
    story.details += rest.lines
    story.tables += rest.tables
    # A curve of one attacker says nothing.
    story.charts += [chart for chart in rest.charts if chart.name != "tried" or _several_tried(run)]


def _several_tried(run: Run) -> bool:
    return bool((run.tables["tried"]["attacker"] > 0).any())


def _verdict(run: Run, story: Story) -> None:
    """What an audit comes to, in words and one table."""
    tables = run.tables
    words = policy_words(
        results=tables["results"],
        members=tables["members"],
        certificates=tables["certificates"],
        attacked_returns=tables.get("attacked_returns"),
    )
    story.take(words)
