"""Batch normalisation over the batches of all processes."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pdeconv.evolve import Evolve
from pdeconv.layers_by_dims import BATCH_NORM


def synchronise_norms(network: nn.Module) -> nn.Module:
    """The network, in which batch normalisation takes the statistics of all processes.

    Only torch's own layers become ``SyncBatchNorm``: one that does more, such as timm's with an activation or one with
    a ceiling, would lose that. Those within an evolution with ``memory="reversible"`` stay too: it goes back through
    ``torch.func``, which cannot differentiate ``SyncBatchNorm``.
    """
    known: dict[nn.Module, nn.Module] = {}  # a module that lies at two places stays one

    def replaced(module: nn.Module) -> nn.Module:
        if type(module) in BATCH_NORM.values():
            return known.setdefault(module, nn.SyncBatchNorm.convert_sync_batchnorm(module))
        if not (isinstance(module, Evolve) and module.memory == "reversible"):
            for name, child in module.named_children():
                if (new := replaced(child)) is not child:
                    setattr(module, name, new)
        return module

    return replaced(network)


def without_synchronised_norms(network: nn.Module) -> nn.Module:
    """The network, in which batch normalisation takes the statistics of one process again."""
    if isinstance(network, nn.SyncBatchNorm):
        norm = _AnyAxes(
            network.num_features, network.eps, network.momentum, network.affine, network.track_running_stats
        )
        norm.to(next(iter([*network.parameters(), *network.buffers()]), torch.empty(0)).device)
        norm.load_state_dict(network.state_dict())
        return norm.train(network.training)
    for name, child in network.named_children():
        if (new := without_synchronised_norms(child)) is not child:
            setattr(network, name, new)
    return network


class _AnyAxes(_BatchNorm):
    """For signals, images and volumes, which SyncBatchNorm does not tell apart."""

    def _check_input_dim(self, input: object) -> None:
        pass
