"""Models: one file a family, created by name."""

from pdeconv.models.adr_classifier import ADRClassifier
from pdeconv.models.adr_denoiser import ADRDenoiser
from pdeconv.models.diffusion_inpainter import DiffusionInpainter
from pdeconv.models.energy_flow_denoiser import EnergyFlowDenoiser
from pdeconv.models.multiscale_denoiser import MultiscaleDenoiser
from pdeconv.models.parabolic_classifier import ParabolicClassifier
from pdeconv.models.pretrained import list_pretrained, model_card
from pdeconv.models.reaction_diffusion_denoiser import GradientFlowDenoiser, ReactionDiffusionDenoiser
from pdeconv.models.registry import create_model, list_models, model_options, register_model

__all__ = [
    "ADRClassifier",
    "ADRDenoiser",
    "DiffusionInpainter",
    "EnergyFlowDenoiser",
    "GradientFlowDenoiser",
    "MultiscaleDenoiser",
    "ParabolicClassifier",
    "ReactionDiffusionDenoiser",
    "create_model",
    "list_models",
    "list_pretrained",
    "model_card",
    "model_options",
    "register_model",
]
