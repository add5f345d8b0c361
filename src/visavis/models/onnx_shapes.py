"""Gives an ONNX graph another input size than its file states."""

from typing import TypeAlias

Shape: TypeAlias = tuple[int | None, ...]
"""Of an input; None where every size is taken."""


def reshaped(model: bytes, shape: Shape) -> bytes:
    """Return the graph with that shape of its first input; shapes of all other tensors are left to be inferred.

    Raises:
        ValueError: the input has another number of dimensions.
    """
    import onnx  # noqa: PLC0415  # takes 0.2 s, and few need it

    graph = onnx.load_model_from_string(model)
    constants = {tensor.name for tensor in graph.graph.initializer}
    first = next(value for value in graph.graph.input if value.name not in constants)
    sizes = first.type.tensor_type.shape.dim
    if len(sizes) != len(shape):
        raise ValueError(f"the input has {len(sizes)} dimensions, not {len(shape)}")
    for number, (size, wanted) in enumerate(zip(sizes, shape, strict=True)):
        if wanted is None:
            size.dim_param = f"free{number}"
        else:
            size.dim_value = wanted
    del graph.graph.value_info[:]
    for output in graph.graph.output:
        for number, size in enumerate(output.type.tensor_type.shape.dim):
            size.dim_param = f"{output.name}_{number}"
    return bytes(graph.SerializeToString())
