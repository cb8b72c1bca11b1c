"""Where the time of a run went, in one line."""

from typing import Any


def took(phases: list[dict[str, Any]]) -> str:
    """`Took 5.2 min: training 4.1, ...`; empty where nothing was written down."""
    if not phases:
        return ""
    total, compiling = (sum(phase[name] for phase in phases) / 60 for name in ("seconds", "compiling"))
    parts = ", ".join(f"{phase['name']} {phase['seconds'] / 60:.1f}" for phase in phases)
    return f"Took {total:.1f} min: {parts}; {compiling:.1f} of these were spent on compiling programs."
