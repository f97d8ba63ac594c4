"""DINOv2 ViT-L/14 as an extractor, a second opinion beside Inception (Stein et al. 2023, arXiv 2306.04675).

Code and weights come through torch.hub, where a user has them; nothing else here needs them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.metrics.failure import MetricError
from bench.metrics.features import weights_digest

REPOSITORY = "facebookresearch/dinov2:main"
MODEL = "dinov2_vitl14"
SIDE = 224
MEAN, SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class DinoV2(nn.Module):
    """Class-token features [B, 1024]; images are brought to 224 px by antialiased bicubic, ImageNet's normalisation.

    Grey images count as three equal channels.  Raises MetricError when torch.hub cannot give the network.
    """

    name = "dinov2"
    dim = 1024
    classes = 0
    mean: Tensor
    sd: Tensor

    def __init__(self) -> None:
        super().__init__()
        try:
            net = torch.hub.load(REPOSITORY, MODEL, trust_repo=True, skip_validation=True, verbose=False)
        except Exception as error:  # torch.hub raises what the network, the disk or the fetched code raises
            raise MetricError(
                f"DINOv2 cannot be had through torch.hub ({type(error).__name__}: {error}). Where there is a network, "
                f"run once: python -c \"import torch; torch.hub.load('{REPOSITORY}', '{MODEL}')\" (1.2 GB), and copy "
                f"{torch.hub.get_dir()} to this machine, or set TORCH_HOME to where it lies."
            ) from error
        self.net = net.eval()
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("sd", torch.tensor(SD).view(1, 3, 1, 1))
        self.weights = weights_digest(self.net)

    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        """Features of uint8 [B, C, H, W]."""
        x = images.expand(-1, 3, -1, -1).float()
        x = F.interpolate(x, size=(SIDE, SIDE), mode="bicubic", antialias=True, align_corners=False)
        return self.net((x.clamp(0, 255) / 255 - self.mean) / self.sd), None
