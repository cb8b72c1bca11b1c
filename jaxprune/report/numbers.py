"""How numbers are written for a reader: as many digits as are worth reading, in few columns."""


def number(value: float | None) -> str:
    """`value` in at most eight characters, about three digits after the first; "-" where there is none."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e5 or 0 < size < 1e-3:
        return f"{value:.1e}"
    decimals = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:.{decimals}f}"


def signed(value: float | None) -> str:
    """`number` with a plus before what is positive."""
    return f"+{number(value)}" if value is not None and value > 0 else number(value)


def low_to_high(low: float | None, high: float | None) -> str:
    """`low..high`, or nothing where there is no interval."""
    return "" if low is None or high is None else f"{number(low)}..{number(high)}"


def percent(share: float) -> str:
    """A share that is set and not measured, such as a confidence, which is never rounded up to all."""
    return f"{100 * share:.6g}%"


def counted(count: object, what: str) -> str:
    """`1 seed`, `2 seeds`, `2 policies`; of a whole number, as whatever Polars types it."""
    if count == 1:
        return f"{count} {what}"
    return f"{count} {what[:-1]}ies" if what.endswith("y") else f"{count} {what}s"


def family_wise(alpha: float) -> str:
    """The error rate of a family of verdicts, a share of a planned one included."""
    return f"family-wise error {100 * alpha:.3g}%"
