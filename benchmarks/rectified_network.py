"""``rectified_network``, the plain counterpart of ``spiking_classifier``: ReLU in place of the spiking neurons.

For train.py by ``--model.name rectified_network --model.source benchmarks/rectified_network.py``.
"""

from collections.abc import Sequence

from torch import nn

from pdeconv import register_model
from pdeconv.models import SpikingClassifier
from pdeconv.models.spiking_classifier import Neurons


@register_model("rectified_network")
def rectified_network(
    in_channels: int = 3,
    num_classes: int = 10,
    stem_width: int = 16,
    widths: Sequence[int] = (24, 64),
    depths: Sequence[int] = (1, 1),
) -> SpikingClassifier:
    """The same convolutions, normalisations and head, to which an image is shown once: without the neurons' leaks."""
    network = SpikingClassifier(in_channels, num_classes, stem_width, widths, depths, steps=1)
    for layer in list(network.modules()):
        if isinstance(layer, nn.Sequential) and len(layer) > 0 and isinstance(layer[-1], Neurons):
            layer[-1] = nn.ReLU(inplace=True)
    return network
