"""Models: one file a family, created by name."""

from pdeconv.models.adr_classifier import ADRClassifier
from pdeconv.models.diffusion_inpainter import DiffusionInpainter
from pdeconv.models.multiscale_denoiser import MultiscaleDenoiser
from pdeconv.models.parabolic_classifier import ParabolicClassifier
from pdeconv.models.reaction_diffusion_denoiser import ReactionDiffusionDenoiser
from pdeconv.models.registry import create_model, list_models, model_options, register_model

__all__ = [
    "ADRClassifier",
    "DiffusionInpainter",
    "MultiscaleDenoiser",
    "ParabolicClassifier",
    "ReactionDiffusionDenoiser",
    "create_model",
    "list_models",
    "model_options",
    "register_model",
]
