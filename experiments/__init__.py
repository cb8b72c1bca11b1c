"""Command lines: `python -m experiments.sweep`. They only parse, call the library and print."""

import os
import warnings

# jaxlib 0.10.1 reports an error for every program it reads from its cache, because a hint for the optimiser
# is no feature of the processor. It listens to this only before it is loaded.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# The library says on import that the flag is missing, which comes before it can be asked to set it.
warnings.filterwarnings("ignore", message="jaxlib .* reads memory it never wrote")

from jaxprune import fusions  # noqa: E402

fusions.avoid()
