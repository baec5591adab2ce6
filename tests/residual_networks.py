"""Networks with residual blocks, torchvision's and timm's, for the tests of conversions."""

import timm
import torch
import torchvision
from torch import nn

from pdeconv import EulerBlocks, replace_blocks


def randomised(model):
    """With weights and statistics away from their start: a gamma of 0 would hide an error."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "scale" not in name:
                parameter.normal_(0, 1.4 / parameter[0].numel() ** 0.5)
            else:
                parameter.normal_(0.5, 0.2)
        for module in model.modules():
            if isinstance(getattr(module, "running_var", None), torch.Tensor):
                module.running_mean.normal_(0, 0.5), module.running_var.uniform_(0.5, 2)
    return model


TV, TIMM = torchvision.models, timm.models._efficientnet_blocks
MODELS = {
    "torchvision BasicBlock": lambda: TV.ResNet(TV.resnet.BasicBlock, [2, 2, 1, 1], num_classes=5),
    "torchvision Bottleneck": lambda: TV.ResNet(
        TV.resnet.Bottleneck, [2, 1, 1, 2], num_classes=5, groups=4, width_per_group=4
    ),
    "torchvision MobileNetV2": lambda: TV.mobilenet_v2(num_classes=5, width_mult=0.25),
    "torchvision MobileNetV3": lambda: TV.mobilenet_v3_small(num_classes=5),
    "torchvision EfficientNet": lambda: TV.efficientnet_b0(num_classes=5, stochastic_depth_prob=0.5),
    "torchvision EfficientNetV2": lambda: TV.EfficientNet(
        [
            TV.efficientnet.FusedMBConvConfig(1, 3, 1, 8, 8, 2),
            TV.efficientnet.FusedMBConvConfig(2, 3, 2, 8, 16, 2),
            TV.efficientnet.MBConvConfig(2, 3, 1, 16, 16, 1),
        ],
        dropout=0.0,
        stochastic_depth_prob=0.5,
        num_classes=5,
        last_channel=32,
    ),
    "torchvision ConvNeXt": lambda: TV.ConvNeXt(
        [TV.convnext.CNBlockConfig(8, 16, 2), TV.convnext.CNBlockConfig(16, None, 2)], 0.5, num_classes=5
    ),
    "timm BasicBlock": lambda: timm.create_model(
        "resnet18",
        num_classes=5,
        drop_path_rate=0.5,
        drop_block_rate=0.2,
        aa_layer=timm.layers.BlurPool2d,
        channels=(16, 16, 24, 32),
    ),
    "timm BasicBlock with attention": lambda: timm.create_model(
        "resnet10t", num_classes=5, block_args={"attn_layer": "se"}
    ),
    "timm Bottleneck": lambda: timm.models.resnet.ResNet(
        timm.models.resnet.Bottleneck,
        (2, 1, 1, 2),
        num_classes=5,
        cardinality=2,
        base_width=16,
        drop_path_rate=0.5,
        block_args={"attn_layer": "se"},
    ),
    "timm MobileNetV3": lambda: timm.create_model("mobilenetv3_small_050", num_classes=5, drop_path_rate=0.5),
    "timm EfficientNet": lambda: timm.create_model("efficientnet_lite0", num_classes=5, drop_path_rate=0.5),
    "timm EfficientNetV2": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3, 2),
        TIMM.EdgeResidual(8, 8, se_layer=timm.layers.SqueezeExcite, drop_path_rate=0.5),
        TIMM.DepthwiseSeparableConv(8, 8, drop_path_rate=0.5),
        TIMM.InvertedResidual(8, 8, noskip=True),
        nn.Flatten(),
        nn.Linear(8 * 15 * 15, 5),
    ),
    "timm MobileNetV4": lambda: timm.create_model("mobilenetv4_conv_small_050", num_classes=5, drop_path_rate=0.5),
    "timm ConvNeXt": lambda: timm.models.convnext.ConvNeXt(
        num_classes=5, depths=(2, 1, 1, 1), dims=(8, 8, 8, 16), drop_path_rate=0.5
    ),
    "timm ConvNeXt, 1x1 convolutions": lambda: timm.models.convnext.ConvNeXt(
        num_classes=5, depths=(2, 1, 1, 1), dims=(8, 8, 8, 16), conv_mlp=True, use_grn=True, ls_init_value=None
    ),
}


def basic(blocks=2, channels=8):
    """A branch of blocks without anything else."""
    return randomised(nn.Sequential(*(TV.resnet.BasicBlock(channels, channels) for _ in range(blocks))))


def small_resnet():
    """torchvision's ResNet-18, of a few channels."""
    model = TV.ResNet(TV.resnet.BasicBlock, [2, 1, 1, 1], num_classes=5)
    model.inplanes = 64
    model.layer2 = model._make_layer(TV.resnet.BasicBlock, 16, 2, 2)
    model.inplanes = 16
    model.layer3 = model._make_layer(TV.resnet.BasicBlock, 16, 1, 2)
    model.layer4, model.fc = nn.Identity(), nn.Linear(16, 5)
    return model


def branch_of(block):
    """f of a residual block, or a chain itself; in float64."""
    module = randomised(block).to(torch.float64).eval()
    return module if isinstance(module, nn.Sequential) else replace_blocks(module, EulerBlocks()).model.branch
