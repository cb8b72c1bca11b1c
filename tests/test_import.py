"""What `import jaxprune` does not do: start a device, or load what only some of its functions need."""

import json
import subprocess
import sys

import pytest

IMPORTS = """
import json, sys
import jaxprune
from jax._src import xla_bridge
print(json.dumps([xla_bridge.backends_are_initialized(), sorted(sys.modules)]))
"""

HEAVY = (
    *("brax", "mujoco", "gymnasium", "onnx", "imageio", "PIL", "tensorboardX", "wandb"),
    *("matplotlib", "plotly", "jinja2"),
    *("orbax.checkpoint", "tensorstore", "scipy.optimize", "scipy.stats"),
)
"""What takes long to import, and is imported where it is used."""


@pytest.fixture(name="imported", scope="module")
def _imported() -> tuple[bool, set[str]]:
    """Whether JAX has started a device, and the modules that are loaded, in a process that imports it."""
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True)
    started, modules = json.loads(done.stdout)
    return started, set(modules)


def test_no_device_is_started(imported: tuple[bool, set[str]]) -> None:
    started, modules = imported
    assert "jaxprune.sweep" in modules
    assert not started


@pytest.mark.parametrize("name", HEAVY)
def test_a_heavy_module_is_not_loaded(imported: tuple[bool, set[str]], name: str) -> None:
    assert not {module for module in imported[1] if f"{module}.".startswith(f"{name}.")}
