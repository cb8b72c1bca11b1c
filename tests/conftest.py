"""Every test runs with shapes checked, on the CPU, with JAX's strict promotion rules."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from jaxtyping import install_import_hook

install_import_hook(["jaxprune"], "beartype.beartype")
