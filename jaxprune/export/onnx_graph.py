"""A policy as an ONNX graph: raw observation in, action or logits out, the observation filter included."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np

from jaxprune.errors import SpecError
from jaxprune.policy import normalizer
from jaxprune.policy.files import PolicyFile, describe

OPSET, IR_VERSION = 17, 8
"""Old enough for the runtimes of the last years."""

ACTIVATIONS = {"tanh": "Tanh", "relu": "Relu", "elu": "Elu"}
"""Operators of our activations; `swish` is `x Sigmoid(x)`, which is no single one."""


class Step(NamedTuple):
    """One operator: its inputs that are no constants, by name, its constants, and its output."""

    operator: str
    inputs: tuple[str, ...]
    output: str
    constants: tuple[np.ndarray, ...] = ()


def onnx_graph(policy: PolicyFile) -> bytes:
    """The model, checked: `observation` [batch, obs] in; `action` [batch, act] out, or `logits` [batch, act].

    The action is the deterministic policy's: the mean, squashed where the policy squashes.

    Raises SpecError where the package onnx is not installed.
    """
    try:
        import onnx
        from onnx import helper, numpy_helper
    except ImportError:
        raise SpecError(
            "onnx: the package is not installed; pip install 'jaxprune[export]', or leave ONNX out: --no-onnx"
        ) from None
    about = describe(policy)
    nodes, constants = [], []
    steps = list(_steps(policy))
    for step in steps:
        named = [f"{step.output}.{i}" for i in range(len(step.constants))]
        constants += map(numpy_helper.from_array, step.constants, named)
        nodes.append(helper.make_node(step.operator, [*step.inputs, *named], [step.output]))
    ends = {"observation": about["observation_size"], steps[-1].output: about["action_size"]}
    read, written = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", size])
        for name, size in ends.items()
    )
    model = helper.make_model(
        helper.make_graph(nodes, "policy", [read], [written], constants),
        producer_name="jaxprune",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def _steps(policy: PolicyFile) -> Iterator[Step]:
    """All operators from the observation to the output."""
    agent = jax.device_get(policy.agent.pruned())
    seen = agent.normalizer
    yield Step("Sub", ("observation",), "centred", (seen.mean,))
    yield Step("Div", ("centred",), "normalised", (np.asarray(normalizer.std(seen)),))
    x = "normalised"
    if np.isfinite(seen.clip):
        yield Step("Clip", (x,), "clipped", (_number(-seen.clip), _number(seen.clip)))
        x = "clipped"
    count = len(agent.policy)
    end = "logits" if agent.discrete else "action"
    for i in range(count):
        kernel, bias = agent.policy[f"layer_{i}"]["kernel"], agent.policy[f"layer_{i}"]["bias"]
        linear = end if i == count - 1 and policy.squash is None else f"layer_{i}"
        yield Step("Gemm", (x,), linear, (kernel, bias))
        x = linear
        if i < count - 1:
            x = f"activation_{i}"
            yield from _activation(agent.activation, linear, x)
    if policy.squash is not None:
        low, high = policy.squash
        half = 0.5 * (high - low)
        yield Step("Tanh", (x,), "squashed")
        yield Step("Mul", ("squashed",), "scaled", (_number(half),))
        yield Step("Add", ("scaled",), end, (_number(low + half),))


def _number(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def _activation(name: str, x: str, output: str) -> Iterator[Step]:
    if name in ACTIVATIONS:
        yield Step(ACTIVATIONS[name], (x,), output)
        return
    yield Step("Sigmoid", (x,), f"{output}_gate")
    yield Step("Mul", (x, f"{output}_gate"), output)
