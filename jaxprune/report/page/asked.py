"""What a run was asked to do, from what its command wrote down."""

from jaxprune.report.page.run import ATTACK, AUDIT, CERTIFY, SHIFT, SWEEP, Run

_WRITTEN = {SWEEP: "spec", ATTACK: "search", CERTIFY: "certification", SHIFT: "shifts", AUDIT: "audit"}
"""Under which name the settings stand."""

_SHOWN = {
    SWEEP: "env seeds sparsities arms schedule score scope steps attacks eps",
    ATTACK: "task members attacks eps norm space search steps rungs episodes",
    CERTIFY: "task members sparsities bounds eps norm states policy",
    SHIFT: "task members sparsities parameters factors draws episodes",
    AUDIT: "task sparsities eps norm space episodes states return_episodes return_eps search",
}
"""Those that say what the run is about; the page holds all others as they were written."""


def asked(run: Run) -> list[str]:
    """`name: value` of the settings; what was resolved, such as a published eps, as what it came to."""
    settings = run.about.get(_WRITTEN[run.kind]) or {}
    resolved = run.about.get("resolved") or {}
    known = {**(run.about.get("population") or {}), **settings}
    known |= {name: value for name, value in resolved.items() if name in known}
    return [f"{name}: {_in_words(known[name])}" for name in _SHOWN[run.kind].split() if name in known]


def _in_words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
