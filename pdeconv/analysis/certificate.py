"""Certified robustness: a radius within which no change of the image changes the class, and an attack to test it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from pdeconv.errors import PDEConvError, UnsupportedError, checked_count, checked_type
from pdeconv.lipschitz import lipschitz_bound
from pdeconv.models.classifier import Classifier


class Certificate(NamedTuple):
    """Of a batch of images.

    Attributes:
        labels: (B,), the classes that the network names.
        radii: (B,), ℓ2 distances; of images nearer than that the network names the same class. In the units of what
            the network is given: for normalised images in units of their standard deviation.
    """

    labels: Tensor
    radii: Tensor


def certified_radii(classifier: Classifier, images: Tensor) -> Certificate:
    """ℓ2 radii within which no image changes the class, proven from Lipschitz bounds, whatever the attack.

    The features move by at most L·‖δ‖, L the product of the bounds of stem, stages and ``last``: 1 for an evolution
    that is nonexpansive. Their means over N cells move by L·‖δ‖/√N, and the logit of class i gains on that of j at
    most ‖wᵢ − wⱼ‖ of it. So the radius is min_j (zᵢ − zⱼ)·√N / (L‖wᵢ − wⱼ‖). The proof is of exact arithmetic: float32
    rounds logits by about 1e-6 of their size. :func:`pdeconv.limit_lipschitz` of the stem and the transitions makes L
    small, and the radii large.

    Args:
        classifier: In evaluation: batch statistics have no bound.
        images: (B, C, H, W).

    Raises:
        PDEConvError: If the classifier is training.
        UnsupportedError: If a part has no Lipschitz bound; names it.

    References:
        Y. Tsuzuku, I. Sato, M. Sugiyama. Lipschitz-margin training: scalable certification of perturbation invariance
        for deep neural networks. NeurIPS 2018.
        L. Meunier, B. Delattre, A. Araujo, A. Allauzen. A dynamical system perspective for Lipschitz neural networks.
        ICML 2022 (nonexpansive residual layers).

    Example:
        >>> from torch import nn
        >>> from pdeconv import create_model
        >>> net = create_model("parabolic_classifier", in_channels=1, norm_layer=nn.Identity).eval()
        >>> labels, radii = certified_radii(net, torch.rand(2, 1, 16, 16))
        >>> bool((radii > 0).all())
        True
    """
    checked_type("certified_radii", classifier, Classifier, "give a classifier of this library")
    if classifier.training:
        raise PDEConvError("certified_radii needs a classifier in evaluation; call classifier.eval().")
    with torch.no_grad():
        features = classifier.forward_features(images)
        means = classifier.forward_head(features, pre_logits=True)
        logits = classifier.head(means)
        weight: Any = classifier.get_classifier().weight
        bound = features_bound(classifier) / math.sqrt(features[0, 0].numel())
        best, labels = logits.max(1)
        margins = best[:, None] - logits
        apart = (weight[labels][:, None] - weight[None]).norm(dim=2) * bound
        others = functional.one_hot(labels, logits.shape[1]) == 0
        radii = torch.where(others, margins / apart.clamp(min=torch.finfo(apart.dtype).tiny), math.inf).amin(1)
    return Certificate(labels, radii)


def features_bound(classifier: Classifier) -> float:
    """L with ‖features(x) − features(y)‖ ≤ L‖x − y‖. Raises ``UnsupportedError`` where a part has no bound."""
    parts = {"stem": classifier.stem, **{f"stages.{n}": stage for n, stage in enumerate(classifier.stages)}}
    parts["last"] = classifier.last
    total = 1.0
    for name, part in parts.items():
        bound = lipschitz_bound(part)
        if bound is None:
            raise UnsupportedError(
                f"{name} of {type(classifier).__name__} has no known Lipschitz bound; take norm_layer=nn.Identity and "
                "an activation such as nn.ReLU, or limit_lipschitz."
            )
        total *= bound
    return total


@torch.enable_grad()
def attack_within(
    network: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    radii: Tensor,
    steps: int = 20,
    restarts: int = 1,
) -> Tensor:
    """Look for images within ℓ2 radii to which a network gives another class: projected gradient descent.

    Each step goes a quarter of the radius up the gradient of the margin of the best other class, and back into the
    ball; each start is a random point on the sphere around it.

    Args:
        network: (B, C, H, W) → logits.
        images: (B, C, H, W).
        labels: (B,), the classes that must not change.
        radii: (B,).
        steps: Gradient steps of each start.
        restarts: Random starts.

    Returns:
        (B,), whether another class was found.

    References:
        A. Madry, A. Makelov, L. Schmidt, D. Tsipras, A. Vladu. Towards deep learning models resistant to adversarial
        attacks. ICLR 2018.

    Example:
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> image = torch.rand(1, 1, 2, 2)
        >>> attack_within(net, image, net(image).argmax(1), torch.tensor([100.0]))
        tensor([True])
    """
    checked_count("attack_within", "steps", steps)
    broken = torch.zeros_like(labels, dtype=torch.bool)
    size = (-1, *(1,) * (images.dim() - 1))
    radius = radii.reshape(size)
    if not radii.isfinite().all():
        raise PDEConvError("attack_within needs finite radii; an infinite one says that there is no other class.")
    for _ in range(checked_count("attack_within", "restarts", restarts)):
        change = _into_ball(torch.randn_like(images), radius)
        for step in range(steps + 1):
            change.requires_grad_()
            logits = network(images + change)
            broken |= logits.detach().argmax(1) != labels
            if step == steps or broken.all():
                break
            (gradient,) = torch.autograd.grad(_other_margins(logits, labels).sum(), change)
            length = gradient.flatten(1).norm(dim=1).reshape(size).clamp(min=torch.finfo(gradient.dtype).tiny)
            change = _into_ball(change.detach() + 0.25 * radius * gradient / length, radius)
    return broken


def _other_margins(logits: Tensor, labels: Tensor) -> Tensor:
    """(B,), how far the best other class is ahead."""
    own = functional.one_hot(labels, logits.shape[1]) == 1
    return logits.masked_fill(own, -math.inf).amax(1) - logits.gather(1, labels[:, None])[:, 0]


def _into_ball(change: Tensor, radius: Tensor) -> Tensor:
    length = change.flatten(1).norm(dim=1).reshape(radius.shape)
    return change * (radius / length.clamp(min=torch.finfo(length.dtype).tiny)).clamp(max=1)
