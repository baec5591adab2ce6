"""What a residual block may become: Euler steps, stabilised ones, or one block for many."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import nn

from pdeconv.errors import checked_count, checked_number
from pdeconv.evolve import Memory
from pdeconv.evolving_block import EvolvingBlock
from pdeconv.lipschitz import limit_lipschitz
from pdeconv.residual_blocks import ResidualParts


class BlockRule(ABC):
    """What a residual block becomes. It is itself a rule, for all blocks of a model."""

    def __call__(self, name: str, block: nn.Module) -> BlockRule:
        return self

    @abstractmethod
    def build(self, parts: ResidualParts, count: int) -> EvolvingBlock:
        """The block that takes the place of ``count`` blocks, the first of which was made of ``parts``."""


@dataclass(frozen=True)
class EulerBlocks(BlockRule):
    """Euler steps of u_t = f(u), with the weights of the block: at steps=1, duration=1 the block itself, bit for bit.

    Nothing is proven of them, whatever dt: a residual branch keeps no range, no energy, and has no proven rate. With
    several steps batch normalisation keeps running statistics of each (:class:`pdeconv.TimeSpecificNorm`), at first
    those of the block; in training they are updated once more where ``memory="checkpoint"`` computes a step again.
    Under autocast a float32 state stays float32, where the block would have rounded the sum.

    Args:
        steps: Euler steps of dt = duration / steps, all with the same weights.
        duration: Time to evolve, of which the original block is one unit.
        memory: As in :class:`pdeconv.Evolve`.

    Example:
        >>> EulerBlocks(steps=2, duration=1.0)
        EulerBlocks(steps=2, duration=1.0, memory='store')
    """

    steps: int = 1
    duration: float = 1.0
    memory: Memory = "store"

    def __post_init__(self) -> None:
        checked_count(type(self).__name__, "steps", self.steps)
        checked_number(type(self).__name__, "duration", self.duration)

    def build(self, parts: ResidualParts, count: int) -> EvolvingBlock:
        return EvolvingBlock(parts.branch, parts.after, self.steps, self.duration, self.memory)


@dataclass(frozen=True)
class StabilisedBlocks(BlockRule):
    """Euler steps of u_t = f(u) whose branch f has at most a declared Lipschitz constant L, whatever the weights.

    It is reached by parametrisation (:func:`pdeconv.lipschitz.limit_lipschitz`): weights whose bound is at most the
    ceiling already compute what they did, bit for bit, others are scaled down. The bounds cost time at every forward
    pass; after training :func:`pdeconv.fold_ceilings` makes plain weights of them. Proven, in evaluation: a step is
    (1 + dt·L)-Lipschitz, and for dt·L < 1 it is invertible and (1 − dt·L)-expansive at least. Not proven: that it keeps
    a range or the energy; anything while batch normalisation trains, as batch statistics have no bound, or while
    stochastic depth does. While batch normalisation trains, ``memory="checkpoint"`` computes the ceilings again from
    running statistics that have moved, so gradients are slightly others than those of ``memory="store"``.

    Args:
        ceiling: L.
        steps, duration, memory: As in :class:`EulerBlocks`.

    References:
        J. Behrmann et al. Invertible residual networks. ICML 2019.
        H. Gouk et al. Regularisation of neural networks by enforcing Lipschitz continuity. Machine Learning 110, 2021.

    Example:
        >>> StabilisedBlocks(ceiling=0.5).ceiling
        0.5
    """

    ceiling: float = 0.9
    steps: int = 1
    duration: float = 1.0
    memory: Memory = "store"

    def __post_init__(self) -> None:
        checked_number("StabilisedBlocks", "ceiling", self.ceiling)
        checked_count("StabilisedBlocks", "steps", self.steps)
        checked_number("StabilisedBlocks", "duration", self.duration)

    def build(self, parts: ResidualParts, count: int) -> EvolvingBlock:
        block = EvolvingBlock(parts.branch, parts.after, self.steps, self.duration, self.memory)
        limit_lipschitz(block.branch, self.ceiling)  # of all steps, whose normalisations it has by now
        return block


@dataclass(frozen=True)
class CondensedBlocks(BlockRule):
    """Runs of equal blocks become one evolving block, of as many steps of dt = 1 as there were blocks.

    A run is of neighbours in an ``nn.Sequential``, of one type and equal shapes; a block without such a neighbour
    stays. The block begins with the weights of the first, and then computes something else than the run: fit it with
    :func:`pdeconv.distil_blocks`. What follows the sum in each block, such as a ReLU, follows the last step only.
    Later members of the Sequential move up, unless they have names.

    Args:
        memory: As in :class:`pdeconv.Evolve`.

    Example:
        >>> CondensedBlocks(memory="checkpoint")
        CondensedBlocks(memory='checkpoint')
    """

    memory: Memory = "store"

    def build(self, parts: ResidualParts, count: int) -> EvolvingBlock:
        return EvolvingBlock(parts.branch, parts.after, count, float(count), self.memory)
