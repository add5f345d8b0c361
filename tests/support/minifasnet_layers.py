"""MiniFASNet layer by layer in NumPy, from its published description: independent of the graph that visavis writes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Weights = Mapping[str, NDArray[Any]]
EPSILON = 1e-5
STAGES = (("conv_23", "conv_3"), ("conv_34", "conv_4"), ("conv_45", "conv_5"))


def forward(weights: Weights, crops: NDArray[np.uint8]) -> Array:
    """Return the logits (N, 3) of crops (N, 80, 80, 3) RGB."""
    value = crops[..., ::-1].transpose(0, 3, 1, 2).astype(np.float64)
    value = block(weights, "conv1", value, stride=2, padding=1)
    value = block(weights, "conv2_dw", value, padding=1, depthwise=True)
    for down, stage in STAGES:
        value = bottleneck(weights, down, value, stride=2)
        number = 0
        while f"{stage}.model.{number}.conv.conv.weight" in weights:
            name = f"{stage}.model.{number}"
            inner = bottleneck(weights, name, value, stride=1)
            if f"{name}.se_module.fc1.weight" in weights:
                inner = inner * excitation(weights, f"{name}.se_module", inner)
            value = value + inner
            number += 1
    value = block(weights, "conv_6_sep", value)
    value = block(weights, "conv_6_dw", value, depthwise=True)
    flat = value.reshape(len(value), -1)
    embedding = normalised(weights, "bn", (flat @ weights["linear.weight"].T.astype(np.float64))[..., None, None])
    logits: Array = embedding[..., 0, 0] @ weights["prob.weight"].T.astype(np.float64)
    return logits


def bottleneck(weights: Weights, name: str, value: Array, *, stride: int) -> Array:
    value = block(weights, f"{name}.conv", value)
    value = block(weights, f"{name}.conv_dw", value, stride=stride, padding=1, depthwise=True)
    return block(weights, f"{name}.project", value)


def block(  # noqa: PLR0913  # what a convolution is
    weights: Weights, name: str, value: Array, *, stride: int = 1, padding: int = 0, depthwise: bool = False
) -> Array:
    value = convolved(value, weights[f"{name}.conv.weight"], stride, padding, depthwise=depthwise)
    value = normalised(weights, f"{name}.bn", value)
    slopes = weights.get(f"{name}.prelu.weight")
    if slopes is None:
        return value
    return np.where(value > 0, value, slopes.reshape(-1, 1, 1) * value)


def excitation(weights: Weights, name: str, value: Array) -> Array:
    mean = value.mean(axis=(2, 3), keepdims=True)
    few = normalised(weights, f"{name}.bn1", convolved(mean, weights[f"{name}.fc1.weight"], 1, 0))
    many = normalised(weights, f"{name}.bn2", convolved(np.maximum(few, 0), weights[f"{name}.fc2.weight"], 1, 0))
    gate: Array = 1 / (1 + np.exp(-many))
    return gate


def convolved(value: Array, kernel: NDArray[Any], stride: int, padding: int, *, depthwise: bool = False) -> Array:
    padded = np.pad(value, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[2:], axis=(2, 3))[:, :, ::stride, ::stride]
    kernel = kernel.astype(np.float64)
    if depthwise:
        each: Array = np.einsum("nchwij,cij->nchw", windows, kernel[:, 0])
        return each
    mixed: Array = np.einsum("nchwij,ocij->nohw", windows, kernel, optimize=True)
    return mixed


def normalised(weights: Weights, name: str, value: Array) -> Array:
    mean, variance, scale, shift = (
        weights[f"{name}.{part}"].reshape(-1, 1, 1).astype(np.float64)
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    result: Array = (value - mean) / np.sqrt(variance + EPSILON) * scale + shift
    return result
