"""Writes Minivision's two networks for passive liveness as one ONNX graph, from their PyTorch state dicts.

MiniFASNetV2 and MiniFASNetV1SE are MobileFaceNets with fewer channels: residual bottlenecks whose convolutions are
each followed by a batch normalisation, which is folded into it here, and by a PReLU; V1SE weighs the channels of the
last bottleneck of each stage besides (squeeze and excitation). How many bottlenecks there are and how wide they are is
read from the state dict.

Source: ``src/model_lib/MiniFASNet.py`` of Minivision's Silent-Face-Anti-Spoofing.
"""

from collections.abc import Sequence

import numpy as np

from visavis.errors import ModelCorrupt
from visavis.models.onnx_graphs import FLOAT, GraphWriter, Normalisation, Tensor, folded
from visavis.models.torch.state import StateDict, read_state_dict
from visavis.types import FloatArray

_CLASSES = 3
_EPSILON = 1e-5
_PARALLEL = "module."  # what training on several devices puts before every name
_STAGES = ("3", "4", "5")
_COUNTER = "num_batches_tracked"


def liveness_graph(state_dicts: Sequence[bytes], side: int) -> bytes:
    """Return the graph ``crops (N, K, side, side, 3) uint8 RGB -> logits (N, K, 3) float32`` of K networks.

    Args:
        state_dicts: of each network, as PyTorch saves it.
        side: of the square crops, in pixels.

    Raises:
        ModelCorrupt: one is no such network.
    """
    writer = GraphWriter()
    pixels = writer.add("Cast", "crops", attributes={"to": FLOAT})
    logits = [_write_network(writer, pixels, number, data) for number, data in enumerate(state_dicts)]
    writer.add("Concat", *logits, attributes={"axis": 1})
    count = len(state_dicts)
    crops = Tensor("crops", ("N", count, side, side, 3), "uint8")
    return writer.serialise(crops, Tensor("logits", ("N", count, _CLASSES)))


def _write_network(writer: GraphWriter, pixels: str, number: int, data: bytes) -> str:
    network = _Network(writer, {name.removeprefix(_PARALLEL): a for name, a in read_state_dict(data).items()})
    crops = writer.add("Gather", pixels, writer.constant(np.array(number, np.int64)), attributes={"axis": 1})
    trunk = writer.add("Transpose", crops, attributes={"perm": [0, 3, 1, 2]})
    trunk = network.conv(trunk, "conv1", stride=2, padding=1, from_rgb=True)
    trunk = network.conv(trunk, "conv2_dw", padding=1)
    before = "2"
    for stage in _STAGES:
        trunk = network.bottleneck(trunk, f"conv_{before}{stage}", stride=2)
        trunk = network.residuals(trunk, f"conv_{stage}.model")
        before = stage
    trunk = network.conv(trunk, "conv_6_sep")
    trunk = network.conv(trunk, "conv_6_dw")
    logits = network.dense(writer.add("Flatten", trunk))
    network.check_all_used()
    return writer.add("Unsqueeze", logits, writer.constant(np.array([1], np.int64)))


class _Network:
    """Writes layers by the names of their weights, each of which is used once."""

    def __init__(self, writer: GraphWriter, weights: StateDict) -> None:
        self._writer = writer
        self._weights = weights

    def conv(self, value: str, name: str, *, stride: int = 1, padding: int = 0, from_rgb: bool = False) -> str:
        """Write a convolution with its normalisation, and its PReLU where it has one."""
        weights = self._take(f"{name}.conv.weight", dimensions=4)
        if from_rgb:  # it was trained on BGR
            weights = weights[:, ::-1]
        value = self._normalised(value, weights, f"{name}.bn", stride=stride, padding=padding)
        slopes = f"{name}.prelu.weight"
        if slopes not in self._weights:
            return value
        return self._writer.add("PRelu", value, self._writer.constant(self._take(slopes).reshape(-1, 1, 1)))

    def bottleneck(self, value: str, name: str, *, stride: int = 1) -> str:
        """Write a wide depthwise convolution between two that widen and narrow."""
        value = self.conv(value, f"{name}.conv")
        value = self.conv(value, f"{name}.conv_dw", stride=stride, padding=1)
        return self.conv(value, f"{name}.project")

    def residuals(self, value: str, name: str) -> str:
        """Write as many bottlenecks as there are, each of which is added to what goes into it."""
        number = 0
        while f"{name}.{number}.conv.conv.weight" in self._weights:
            inner = self.bottleneck(value, f"{name}.{number}")
            if f"{name}.{number}.se_module.fc1.weight" in self._weights:
                inner = self._excited(inner, f"{name}.{number}.se_module")
            value = self._writer.add("Add", value, inner)
            number += 1
        return value

    def dense(self, value: str) -> str:
        """Write what leads from the last plane to the logits."""
        weights, bias = folded(self._take("linear.weight", dimensions=2), None, self._normalisation("bn"))
        value = self._gemm(value, weights, bias)
        last = self._take("prob.weight", dimensions=2)
        return self._gemm(value, last, np.zeros(len(last), np.float32))

    def check_all_used(self) -> None:
        """Insist that nothing of the state dict is left.

        Raises:
            ModelCorrupt: something is: the network is another one.
        """
        left = [name for name in self._weights if not name.endswith(_COUNTER)]
        if left:
            raise ModelCorrupt(f"the state dict is of another network than a MiniFASNet: it has {left[0]!a}")

    def _normalised(self, value: str, weights: FloatArray, norm: str, *, stride: int = 1, padding: int = 0) -> str:
        kernel, bias = folded(weights, None, self._normalisation(norm, len(weights)))
        groups = len(weights) if weights.shape[1] == 1 else 1
        pads = (padding, padding, padding, padding)
        return self._writer.conv(value, kernel, bias, stride=stride, pads=pads, groups=groups)

    def _excited(self, value: str, name: str) -> str:
        """Write the weighing of each channel by what all of them are on average."""
        mean = self._writer.add("GlobalAveragePool", value)
        few = self._normalised(mean, self._take(f"{name}.fc1.weight", dimensions=4), f"{name}.bn1")
        few = self._writer.add("Relu", few)
        many = self._normalised(few, self._take(f"{name}.fc2.weight", dimensions=4), f"{name}.bn2")
        return self._writer.add("Mul", value, self._writer.add("Sigmoid", many))

    def _gemm(self, value: str, weights: FloatArray, bias: FloatArray) -> str:
        constants = (self._writer.constant(array) for array in (weights, bias))
        return self._writer.add("Gemm", value, *constants, attributes={"transB": 1})

    def _normalisation(self, name: str, channels: int | None = None) -> Normalisation:
        scale, shift, mean, variance = (
            self._take(f"{name}.{part}") for part in ("weight", "bias", "running_mean", "running_var")
        )
        sizes = {channels or len(scale), *map(len, (scale, shift, mean, variance))}
        if len(sizes) > 1:
            raise ModelCorrupt(f"{name}: the state dict normalises other channels than there are: {sorted(sizes)}")
        return Normalisation(scale, shift, mean, variance, _EPSILON)

    def _take(self, name: str, dimensions: int = 1) -> FloatArray:
        weights = self._weights.pop(name, None)
        if weights is None or weights.ndim != dimensions or weights.dtype != np.float32:
            raise ModelCorrupt(f"the state dict is not of a MiniFASNet: it has no {name} in {dimensions} dimensions")
        return weights
