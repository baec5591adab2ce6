"""Models: one file a family, created by name."""

from pdeconv.models.adr_classifier import ADRClassifier
from pdeconv.models.adr_denoiser import ADRDenoiser
from pdeconv.models.adr_residual_classifier import ADRResidualClassifier
from pdeconv.models.advection_forecaster import AdvectionForecaster
from pdeconv.models.attention_classifier import AttentionClassifier
from pdeconv.models.classifier import Classifier
from pdeconv.models.convlstm_forecaster import ConvLSTMForecaster
from pdeconv.models.diffusion_inpainter import DiffusionInpainter
from pdeconv.models.energy_flow_denoiser import EnergyFlowDenoiser
from pdeconv.models.feature_info import FeatureInfo, FeatureMaps
from pdeconv.models.forecaster import Forecaster
from pdeconv.models.global_diffusion_classifier import GlobalDiffusionClassifier
from pdeconv.models.hamiltonian_classifier import HamiltonianClassifier
from pdeconv.models.heat_classifier import HeatClassifier
from pdeconv.models.multiscale_denoiser import MultiscaleDenoiser
from pdeconv.models.ode_classifier import ODEClassifier
from pdeconv.models.parabolic_classifier import ParabolicClassifier
from pdeconv.models.pretrained import list_pretrained, model_card
from pdeconv.models.reaction_diffusion_denoiser import GradientFlowDenoiser, ReactionDiffusionDenoiser
from pdeconv.models.registry import create_model, list_models, model_options, register_model
from pdeconv.models.resnet_classifier import ResNetClassifier
from pdeconv.models.second_order_classifier import SecondOrderClassifier
from pdeconv.models.spiking_classifier import SpikingClassifier

__all__ = [
    "ADRClassifier",
    "ADRDenoiser",
    "ADRResidualClassifier",
    "AdvectionForecaster",
    "AttentionClassifier",
    "Classifier",
    "ConvLSTMForecaster",
    "DiffusionInpainter",
    "EnergyFlowDenoiser",
    "FeatureInfo",
    "FeatureMaps",
    "Forecaster",
    "GlobalDiffusionClassifier",
    "GradientFlowDenoiser",
    "HamiltonianClassifier",
    "HeatClassifier",
    "MultiscaleDenoiser",
    "ODEClassifier",
    "ParabolicClassifier",
    "ReactionDiffusionDenoiser",
    "ResNetClassifier",
    "SecondOrderClassifier",
    "SpikingClassifier",
    "create_model",
    "list_models",
    "list_pretrained",
    "model_card",
    "model_options",
    "register_model",
]
