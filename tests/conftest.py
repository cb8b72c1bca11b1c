"""Every test runs on the CPU, with the shapes of everything checked."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from jaxtyping import install_import_hook

import tests.shapes  # noqa: F401  the hook looks its checker up by name

install_import_hook(["jaxprune"], "tests.shapes.check")
