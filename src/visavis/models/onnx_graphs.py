"""Writes ONNX graphs of the few operators that the networks here are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from visavis.errors import ModelCorrupt
from visavis.types import FloatArray

# Understood by every runtime of the last years; nothing newer is needed.
_OPSET = 13
_IR_VERSION = 8
_TYPES = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}

FLOAT = int(TensorProto.FLOAT)
"""What the operator ``Cast`` calls float32."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """What goes into a graph, or comes out of it.

    Attributes:
        name: of it.
        shape: of it; a string stands for any size.
        dtype: "uint8" or "float32".
    """

    name: str
    shape: Sequence[int | str]
    dtype: str = "float32"


@dataclass(frozen=True, slots=True, eq=False)
class Normalisation:
    """What a batch normalisation has learned of each of its C channels: all (C,).

    Attributes:
        scale, shift: what it brings a channel to.
        mean, variance: what it expects of a channel.
        epsilon: added to the variance.
    """

    scale: FloatArray
    shift: FloatArray
    mean: FloatArray
    variance: FloatArray
    epsilon: float


def folded(weights: FloatArray, bias: FloatArray | None, norm: Normalisation) -> tuple[FloatArray, FloatArray]:
    """Return the weights (O, ...) and the bias (O,) that do what a layer and the normalisation behind it do."""
    factor = norm.scale.astype(np.float64) / np.sqrt(norm.variance.astype(np.float64) + norm.epsilon)
    before = np.zeros(len(weights)) if bias is None else bias.astype(np.float64)
    after = (before - norm.mean) * factor + norm.shift
    scaled = weights * factor.reshape(-1, *[1] * (weights.ndim - 1))
    return scaled.astype(np.float32), after.astype(np.float32)


@dataclass(slots=True)
class GraphWriter:
    """The operators written so far, each with one output, whose name is what further ones take."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def constant(self, array: NDArray[Any]) -> str:
        """Add an array, and return its name."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def add(self, operator: str, *inputs: str, attributes: Mapping[str, object] | None = None) -> str:
        """Add an operator of ONNX, and return the name of its output."""
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **(attributes or {})))
        return name

    def conv(  # noqa: PLR0913  # what a convolution is
        self,
        value: str,
        weights: FloatArray,
        bias: FloatArray,
        *,
        stride: int = 1,
        pads: tuple[int, int, int, int] = (0, 0, 0, 0),
        groups: int = 1,
    ) -> str:
        """Add a convolution, and return the name of its output.

        Args:
            value: (N, C, H, W) what it is applied to.
            weights: (O, C / groups, rows, columns).
            bias: (O,).
            stride: both ways.
            pads: zeros at the top, left, bottom and right.
            groups: into which the channels are divided.
        """
        attributes = {
            "kernel_shape": list(weights.shape[2:]),
            "strides": [stride, stride],
            "pads": list(pads),
            "group": groups,
        }
        return self.add("Conv", value, self.constant(weights), self.constant(bias), attributes=attributes)

    def serialise(self, source: Tensor, result: Tensor) -> bytes:
        """Return the graph as bytes.

        Args:
            source: its input.
            result: its output, which is the last operator's.

        Raises:
            ModelCorrupt: what the operators are given does not fit together.
        """
        self.nodes[-1].output[0] = result.name
        graph = helper.make_graph(self.nodes, "visavis", [_described(source)], [_described(result)], self.constants)
        model = helper.make_model(
            graph,
            producer_name="visavis",
            opset_imports=[helper.make_opsetid("", _OPSET)],
            ir_version=_IR_VERSION,
        )
        try:
            onnx.checker.check_model(model, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise ModelCorrupt(f"the weights do not make a network: {error}") from error
        serialised: bytes = model.SerializeToString()
        return serialised


def _described(tensor: Tensor) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(tensor.name, _TYPES[tensor.dtype], list(tensor.shape))
