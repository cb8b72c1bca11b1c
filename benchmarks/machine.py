"""The line every table of results carries: where and with what it was measured."""

import os
import platform
from pathlib import Path

import jax

from jaxprune.run_folder import OPTIONAL, versions

PACKAGES = ("jax", "jaxlib", "mujoco", "mujoco-mjx", "numpy", *OPTIONAL)


def machine_line(command: str) -> str:
    """Command, processor, cores, device and versions, as one Markdown paragraph."""
    installed = versions()
    told = ", ".join(f"{name} {installed[name]}" for name in PACKAGES if name in installed)
    device = jax.devices()[0]
    return (
        f"Command: `{command}`. Machine: {platform.machine()} ({_processor()}), {os.cpu_count()} cores, "
        f"JAX on {device.platform} ({device.device_kind}). Python {platform.python_version()}, {told}."
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()  # Linux only, as these benchmarks are
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown"
