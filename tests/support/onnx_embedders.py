"""Small embedders in ONNX that keep the contracts of the catalogue's, made the way that exports are made."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from visavis.models.installation import FILES
from visavis.models.packs import InputContract, Pack, Role

_SIDE_OF_CELL = 16
_CHANNELS = 4
Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Embedder:
    """A convolution over cells of 16 x 16 pixels, a rectifier, and a matrix."""

    kernel: Array
    matrix: Array

    @classmethod
    def of(cls, pack: Pack, seed: int = 5) -> "Embedder":
        rng = np.random.default_rng(seed)
        cells = (pack.template.side // _SIDE_OF_CELL) ** 2
        kernel = rng.normal(size=(_CHANNELS, 3, _SIDE_OF_CELL, _SIDE_OF_CELL)).astype(np.float32) / _SIDE_OF_CELL**2
        return cls(kernel, rng.normal(size=(cells * _CHANNELS, pack.dimension)).astype(np.float32))

    def expected(self, chips: Array, contract: InputContract) -> Array:
        """Return the embeddings (N, D) of chips (N, S, S, 3), computed with NumPy in float64."""
        values = np.stack([_fed(chip.astype(np.float64), contract) for chip in chips])
        size, rows = len(chips), chips.shape[1] // _SIDE_OF_CELL
        cells = values.reshape(size, rows, _SIDE_OF_CELL, rows, _SIDE_OF_CELL, 3)
        mapped = np.maximum(np.einsum("nrykxc,ocyx->nork", cells, self.kernel.astype(np.float64)), 0)
        embeddings: Array = mapped.reshape(size, -1) @ self.matrix.astype(np.float64)
        return embeddings

    def graph(self, pack: Pack, kind: str = "free") -> bytes:
        """Return the network in ONNX.

        Args:
            pack: whose contract it keeps.
            kind: "free" for any number of images; "one" states one, and takes more where that is changed; "stuck" holds
                that number in its midst; "mixed" lets the images of a batch see each other.
        """
        contract, side = pack.input, pack.template.side
        channels_first = contract.layout == "nchw"
        shape = (3, side, side) if channels_first else (side, side, 3)
        nodes: list[onnx.NodeProto] = []

        def add(operator: str, *inputs: str, **attributes: object) -> str:
            nodes.append(helper.make_node(operator, list(inputs), [f"v{len(nodes)}"], **attributes))
            return f"v{len(nodes) - 1}"

        value = add("Cast", "images", to=TensorProto.FLOAT) if contract.dtype == "uint8" else "images"
        if not channels_first:
            value = add("Transpose", value, perm=[0, 3, 1, 2])
        value = add("Relu", add("Conv", value, "kernel", strides=[_SIDE_OF_CELL] * 2))
        value = add("Reshape", value, "flat") if kind == "stuck" else add("Flatten", value, axis=1)
        if kind == "mixed":
            value = add("Max", value, add("ReduceMax", value, axes=[0]))
        value = add("MatMul", value, "matrix")
        constants = {"kernel": self.kernel, "matrix": self.matrix, "flat": np.array([1, -1])}
        model = helper.make_model(
            helper.make_graph(
                nodes,
                kind,
                [_tensor("images", contract.dtype, ["n" if kind == "free" else 1, *shape])],
                [_tensor(value, "float32", ["n" if kind == "free" else 1, pack.dimension])],
                [numpy_helper.from_array(array, name) for name, array in constants.items()],
            ),
            opset_imports=[helper.make_opsetid("", 13)],
            ir_version=8,
        )
        serialised: bytes = model.SerializeToString()
        return serialised


def _fed(chip: Array, contract: InputContract) -> Array:
    """Return a chip (S, S, 3) as the contract says, channels last, one channel after the other."""
    ordered = chip if contract.colours == "rgb" else np.flip(chip, axis=2)
    if contract.dtype == "uint8":
        return ordered
    if contract.whiten:
        white: Array = (ordered - ordered.mean()) / max(float(ordered.std()), float(ordered.size) ** -0.5)
        return white
    return np.stack([(ordered[..., k] - contract.mean[k]) * contract.scale for k in range(3)], axis=2)


def _tensor(name: str, dtype: str, shape: list[str | int]) -> onnx.ValueInfoProto:
    kinds = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}
    return helper.make_tensor_value_info(name, kinds[dtype], shape)


def with_embedder(pack: Pack, graph: bytes, folder: Path) -> Pack:
    """Return the pack with this embedder, whose file is put among the models in the folder."""
    return with_file(pack, "embedder", graph, folder)


def with_file(pack: Pack, role: Role, graph: bytes, folder: Path) -> Pack:
    """Return the pack with another file in a part of one file, which is put among the models in the folder."""
    part = pack.part(role)
    file = replace(part.files[0], size=len(graph), sha256=hashlib.sha256(graph).hexdigest())
    (folder / FILES).mkdir(parents=True, exist_ok=True)
    (folder / FILES / file.name).write_bytes(graph)
    other = replace(part, files=(file,))
    return replace(pack, parts=tuple(other if each is part else each for each in pack.parts))
