"""Command lines: `python -m experiments.sweep`. They only parse, call the library and print."""

import warnings

# The library says on import that the flag is missing, which comes before it can be asked to set it.
warnings.filterwarnings("ignore", message="jaxlib .* reads memory it never wrote")

from jaxprune import fusions  # noqa: E402

fusions.avoid()
