"""Minivision's networks for passive liveness: one ONNX graph from their PyTorch state dicts.

MiniFASNetV2 and MiniFASNetV1SE are MobileFaceNets with fewer channels: residual bottlenecks whose convolutions are
each followed by a batch normalisation and by a PReLU; V1SE weighs the channels of the last bottleneck of each stage
besides (squeeze and excitation). How many bottlenecks there are and how wide they are is read from the state dict.

Source: ``src/model_lib/MiniFASNet.py`` of Minivision's Silent-Face-Anti-Spoofing.
"""

from collections.abc import Sequence

import numpy as np

from visavis.errors import ModelCorrupt
from visavis.models.onnx_graphs import Add, Conv, Dense, Elementwise, GraphWriter, Mean, Network, Norm, Tensor
from visavis.models.torch.state import StateDict, read_state_dict
from visavis.types import FloatArray

_CLASSES = 3
_EPSILON = 1e-5
_PARALLEL = "module."  # what training on several devices puts before every name
_STAGES = ("3", "4", "5")
_COUNTER = "num_batches_tracked"
_NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


def liveness_graph(state_dicts: Sequence[bytes], side: int) -> bytes:
    """Return the graph ``crops (N, K, side, side, 3) uint8 RGB -> logits (N, K, 3) float32`` of K state dicts.

    Raises:
        ModelCorrupt: one is no such network.
    """
    writer, logits = GraphWriter(), []
    for number, data in enumerate(state_dicts):
        net = _MiniFasNet({name.removeprefix(_PARALLEL): array for name, array in read_state_dict(data).items()}, side)
        end = writer.network(net.network, net.weights, writer.pixels("crops", number=number))
        logits.append(writer.add("Unsqueeze", end, writer.constant(np.array([1], np.int64))))
    writer.add("Concat", *logits, axis=1)
    crops = Tensor("crops", ("N", len(state_dicts), side, side, 3), "uint8")
    return writer.serialise(crops, Tensor("logits", ("N", len(state_dicts), _CLASSES)))


class _MiniFasNet:
    """A network and its weights, each of the state dict's used once; layers are called as theirs are.

    Raises:
        ModelCorrupt: something is missing or left over: the state dict is of another network.
    """

    def __init__(self, state: StateDict, side: int) -> None:
        self.network = Network((3, side, side))
        self.weights: dict[str, dict[str, FloatArray]] = {}
        self._state = state
        end = self._conv("conv1", Network.INPUT, stride=2, padding=1)
        kernel = self.weights["conv1.conv"]
        kernel["kernel"] = kernel["kernel"][:, ::-1]  # it was trained on BGR
        end = self._conv("conv2_dw", end, padding=1)
        before = "2"
        for stage in _STAGES:
            end = self._bottleneck(f"conv_{before}{stage}", end, stride=2)
            end = self._residuals(f"conv_{stage}.model", end)
            before = stage
        end = self._conv("conv_6_dw", self._conv("conv_6_sep", end))
        end = self._norm("bn", self._dense("linear", end))
        self._dense("prob", end)
        left = [name for name in self._state if not name.endswith(_COUNTER)]
        if left:
            raise ModelCorrupt(f"the state dict is of another network than a MiniFASNet: it has {left[0]!a}")

    def _conv(self, name: str, source: str, *, stride: int = 1, padding: int = 0) -> str:
        """Add a convolution with its normalisation, and its PReLU where it has one."""
        end = self._normalised(f"{name}.conv", f"{name}.bn", source, stride=stride, padding=padding)
        slopes = f"{name}.prelu"
        if f"{slopes}.weight" not in self._state:
            return end
        self.weights[slopes] = {"slopes": self._take(f"{slopes}.weight")}
        return self.network.add(slopes, Elementwise("PRelu"), end)

    def _normalised(self, conv: str, norm: str, source: str, *, stride: int = 1, padding: int = 0) -> str:
        kernel = self._take(f"{conv}.weight", dimensions=4)
        filters, per_group, rows, columns = kernel.shape
        self.weights[conv] = {"kernel": kernel}
        kind = Conv(filters, (rows, columns), stride, padding, groups=filters if per_group == 1 else 1)
        return self._norm(norm, self.network.add(conv, kind, source))

    def _norm(self, name: str, source: str) -> str:
        self.weights[name] = {use: self._take(f"{name}.{theirs}") for use, theirs in _NORM.items()}
        return self.network.add(name, Norm(epsilon=_EPSILON), source)

    def _dense(self, name: str, source: str) -> str:
        kernel = self._take(f"{name}.weight", dimensions=2)
        self.weights[name] = {"kernel": kernel}
        return self.network.add(name, Dense(len(kernel)), source)

    def _bottleneck(self, name: str, source: str, *, stride: int = 1) -> str:
        """Add a wide depthwise convolution between two that widen and narrow."""
        wide = self._conv(f"{name}.conv_dw", self._conv(f"{name}.conv", source), stride=stride, padding=1)
        return self._conv(f"{name}.project", wide)

    def _residuals(self, name: str, source: str) -> str:
        """Add as many bottlenecks as there are, each of which is added to what goes into it."""
        number = 0
        while f"{name}.{number}.conv.conv.weight" in self._state:
            one = f"{name}.{number}"
            inner = self._bottleneck(one, source)
            if f"{one}.se_module.fc1.weight" in self._state:
                inner = self._excited(f"{one}.se_module", inner)
            source = self.network.add(f"{one}.sum", Add(), source, inner)
            number += 1
        return source

    def _excited(self, name: str, source: str) -> str:
        """Add the weighing of each channel by what all of them are on average."""
        mean = self.network.add(f"{name}.mean", Mean(keep_plane=True), source)
        few = self._normalised(f"{name}.fc1", f"{name}.bn1", mean)
        few = self.network.add(f"{name}.relu", Elementwise("Relu"), few)
        many = self._normalised(f"{name}.fc2", f"{name}.bn2", few)
        many = self.network.add(f"{name}.sigmoid", Elementwise("Sigmoid"), many)
        return self.network.add(f"{name}.product", Elementwise("Mul"), source, many)

    def _take(self, name: str, dimensions: int = 1) -> FloatArray:
        weights = self._state.pop(name, None)
        if weights is None or weights.ndim != dimensions or weights.dtype != np.float32:
            raise ModelCorrupt(f"the state dict is not of a MiniFASNet: it has no {name} in {dimensions} dimensions")
        return weights
