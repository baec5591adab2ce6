"""Batch normalisation over the batches of all processes."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pdeconv.energy import Energy
from pdeconv.evolve import Evolve
from pdeconv.layers_by_dims import BATCH_NORM
from pdeconv.replaced import replaced


def synchronise_norms(network: nn.Module) -> nn.Module:
    """The network, in which batch normalisation takes the statistics of all processes.

    Only torch's own layers become ``SyncBatchNorm``: one that does more, such as timm's with an activation or one with
    a ceiling, would lose that. Those within an evolution with ``memory="reversible"``, or within an energy whose slope
    is taken, stay too: ``SyncBatchNorm`` has no derivative by ``torch.func`` and no second one.
    """

    def made(module: nn.Module) -> nn.Module | None:
        if type(module) in BATCH_NORM.values():
            return nn.SyncBatchNorm.convert_sync_batchnorm(module)
        stays = isinstance(module, Energy) or (isinstance(module, Evolve) and module.memory == "reversible")
        return module if stays else None

    return replaced(network, made)


def without_synchronised_norms(network: nn.Module) -> nn.Module:
    """The network, in which batch normalisation takes the statistics of one process again, with the same tensors."""
    return replaced(network, lambda part: _of_one_process(part) if isinstance(part, nn.SyncBatchNorm) else None)


def _of_one_process(norm: nn.SyncBatchNorm) -> nn.Module:
    lone = _AnyAxes(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    lone.weight, lone.bias = norm.weight, norm.bias
    lone.running_mean, lone.running_var = norm.running_mean, norm.running_var
    lone.num_batches_tracked = norm.num_batches_tracked
    return lone.train(norm.training)


class _AnyAxes(_BatchNorm):
    """For signals, images and volumes, which SyncBatchNorm does not tell apart."""

    def _check_input_dim(self, input: object) -> None:
        pass
