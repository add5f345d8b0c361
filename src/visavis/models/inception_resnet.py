"""Inception-ResNet v1 as FaceNet has it.

Source: C. Szegedy et al., "Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning", 2016,
with the sizes and scales of D. Sandberg's ``facenet``, and the names of the layers in its Keras weights.
"""

from typing import TypeAlias

from visavis.models.keras_network import Add, Concat, Conv, Dense, MaxPool, Mean, Network, Norm, Relu, Scale, Window

SIDE = 160

_Step: TypeAlias = tuple[str, int, Window]
"""What tells a convolution of a branch from its others, in its name; its filters; and its window."""
_Branches: TypeAlias = tuple[tuple[_Step, ...], ...]

# Convolutions that halve the plane.
_HALVING = "1a_"
_BLOCK35: _Branches = (
    (("", 32, (1, 1)),),
    (("0a_", 32, (1, 1)), ("0b_", 32, (3, 3))),
    (("0a_", 32, (1, 1)), ("0b_", 32, (3, 3)), ("0c_", 32, (3, 3))),
)
_REDUCTION_A: _Branches = (
    ((_HALVING, 384, (3, 3)),),
    (("0a_", 192, (1, 1)), ("0b_", 192, (3, 3)), (_HALVING, 256, (3, 3))),
)
_BLOCK17: _Branches = (
    (("", 128, (1, 1)),),
    (("0a_", 128, (1, 1)), ("0b_", 128, (1, 7)), ("0c_", 128, (7, 1))),
)
_REDUCTION_B: _Branches = (
    (("0a_", 256, (1, 1)), (_HALVING, 384, (3, 3))),
    (("0a_", 256, (1, 1)), (_HALVING, 256, (3, 3))),
    (("0a_", 256, (1, 1)), ("0b_", 256, (3, 3)), (_HALVING, 256, (3, 3))),
)
_BLOCK8: _Branches = (
    (("", 192, (1, 1)),),
    (("0a_", 192, (1, 1)), ("0b_", 192, (1, 3)), ("0c_", 192, (3, 1))),
)


def inception_resnet_v1(dimension: int) -> Network:
    """Return the network ``images (3, 160, 160) -> embedding (dimension,)``."""
    network = Network(3, SIDE)
    end = _stem(network)
    for number in range(1, 6):
        end = _relu(network, f"Block35_{number}", _residual(network, f"Block35_{number}", end, _BLOCK35, 0.17))
    end = _reduction(network, "Mixed_6a", end, _REDUCTION_A)
    for number in range(1, 11):
        end = _relu(network, f"Block17_{number}", _residual(network, f"Block17_{number}", end, _BLOCK17, 0.1))
    end = _reduction(network, "Mixed_7a", end, _REDUCTION_B)
    for number in range(1, 6):
        end = _relu(network, f"Block8_{number}", _residual(network, f"Block8_{number}", end, _BLOCK8, 0.2))
    end = _residual(network, "Block8_6", end, _BLOCK8, 1.0)
    end = network.add("AvgPool", Mean(), end)
    end = network.add("Bottleneck", Dense(dimension), end)
    network.add("Bottleneck_BatchNorm", Norm(scale=False), end)
    return network


def _stem(network: Network) -> str:
    end = _unit(network, "Conv2d_1a_3x3", Network.INPUT, Conv(32, (3, 3), stride=2, padding="valid"))
    end = _unit(network, "Conv2d_2a_3x3", end, Conv(32, (3, 3), padding="valid"))
    end = _unit(network, "Conv2d_2b_3x3", end, Conv(64, (3, 3)))
    end = network.add("MaxPool_3a_3x3", MaxPool(3, 2), end)
    end = _unit(network, "Conv2d_3b_1x1", end, Conv(80, (1, 1), padding="valid"))
    end = _unit(network, "Conv2d_4a_3x3", end, Conv(192, (3, 3), padding="valid"))
    return _unit(network, "Conv2d_4b_3x3", end, Conv(256, (3, 3), stride=2, padding="valid"))


def _unit(network: Network, name: str, source: str, conv: Conv) -> str:
    """Add a convolution, its normalisation and its ReLU."""
    end = network.add(name, conv, source)
    end = network.add(f"{name}_BatchNorm", Norm(scale=False), end)
    return _relu(network, name, end)


def _relu(network: Network, name: str, source: str) -> str:
    return network.add(f"{name}_Activation", Relu(), source)


def _branches(network: Network, prefix: str, source: str, branches: _Branches) -> list[str]:
    ends = []
    for number, steps in enumerate(branches):
        end = source
        for tag, filters, window in steps:
            halving = tag == _HALVING
            conv = Conv(filters, window, stride=2 if halving else 1, padding="valid" if halving else "same")
            end = _unit(network, f"{prefix}_Branch_{number}_Conv2d_{tag}{window[0]}x{window[1]}", end, conv)
        ends.append(end)
    return ends


def _residual(network: Network, prefix: str, source: str, branches: _Branches, scale: float) -> str:
    """Add a block that adds a scaled correction to what it takes."""
    mixed = network.add(f"{prefix}_Concatenate", Concat(), *_branches(network, prefix, source, branches))
    channels = network.shape_of(source)[0]
    end = network.add(f"{prefix}_Conv2d_1x1", Conv(channels, (1, 1), bias=True), mixed)
    end = network.add(f"{prefix}_Scale", Scale(scale), end)
    return network.add(f"{prefix}_Add", Add(), source, end)


def _reduction(network: Network, prefix: str, source: str, branches: _Branches) -> str:
    """Add a block that halves the plane; its last branch is a maximum."""
    ends = _branches(network, prefix, source, branches)
    pool = network.add(f"{prefix}_Branch_{len(ends)}_MaxPool_1a_3x3", MaxPool(3, 2), source)
    return network.add(prefix, Concat(), *ends, pool)
