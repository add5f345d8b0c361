"""ResNet-50 as it was trained on VGGFace2.

Source: K. He et al., "Deep Residual Learning for Image Recognition", 2015, with the strides of the Caffe models: in
a block that halves the plane, the first convolution does. The names of the layers are those of ``keras-vggface``,
whose maximum behind the first convolution has no padding: 112 pixels become 55, where Caffe rounds up to 56.
"""

from visavis.models.keras_network import Add, Conv, MaxPool, Mean, Network, Norm, Relu

SIDE = 224

# The number of each stage in its layers' names, its blocks and its filters; four times as many come out of it.
_STAGES = ((2, 3, 64), (3, 4, 128), (4, 6, 256), (5, 3, 512))
_WIDENING = 4


def vggface2_resnet50() -> Network:
    """Return the network ``images (3, 224, 224) -> embedding (2048,)``."""
    network = Network(3, SIDE)
    end = network.add("conv1/7x7_s2", Conv(64, (7, 7), stride=2), Network.INPUT)
    end = network.add("conv1/7x7_s2/bn", Norm(), end)
    end = network.add("conv1/relu", Relu(), end)
    end = network.add("pool1", MaxPool(3, 2), end)
    for stage, blocks, filters in _STAGES:
        for number in range(1, blocks + 1):
            end = _block(
                network, f"conv{stage}_{number}", end, filters, 2 if number == 1 and stage > _STAGES[0][0] else 1
            )
    network.add("avg_pool", Mean(), end)
    return network


def _block(network: Network, prefix: str, source: str, filters: int, stride: int) -> str:
    end = _unit(network, f"{prefix}_1x1_reduce", source, Conv(filters, (1, 1), stride=stride))
    end = _unit(network, f"{prefix}_3x3", network.add(f"{prefix}_relu1", Relu(), end), Conv(filters, (3, 3)))
    wide = Conv(filters * _WIDENING, (1, 1))
    end = _unit(network, f"{prefix}_1x1_increase", network.add(f"{prefix}_relu2", Relu(), end), wide)
    shortcut = source
    if network.shape_of(source) != network.shape_of(end):
        shortcut = _unit(network, f"{prefix}_1x1_proj", source, Conv(wide.filters, (1, 1), stride=stride))
    return network.add(f"{prefix}_relu", Relu(), network.add(f"{prefix}_add", Add(), end, shortcut))


def _unit(network: Network, name: str, source: str, conv: Conv) -> str:
    """Add a convolution and its normalisation."""
    return network.add(f"{name}/bn", Norm(), network.add(name, conv, source))
