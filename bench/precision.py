"""Arithmetic of a run: `train.precision`, and what a penalty is computed in under bf16.

fp32: IEEE single precision throughout.  tf32: products on CUDA read 10 bits of mantissa, and add up in float32; a CPU
has no such products, and computes in fp32.  bf16: convs and dense layers read and write bfloat16 by torch's autocast;
weights, optimizers, running statistics, logits, losses and, by `penalty_precision`, penalties stay in float32.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from bench.setting import Setting


@contextlib.contextmanager
def tf32() -> Iterator[None]:
    """Let products of float32 on CUDA be made in TF32, convs too."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def products(setting: Setting) -> contextlib.AbstractContextManager[object]:
    """Where a whole update is done, forward and backward: what its float32 products may be made in.

    Of an update and no more: samples and scores are float32's, whatever a run was trained in.
    """
    train = setting.train
    allowed = train.precision == "tf32" or (train.precision == "bf16" and train.penalty_precision == "tf32")
    return tf32() if allowed else contextlib.nullcontext()


def lowered(setting: Setting, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Where an update's loss is computed: under autocast for bf16."""
    if setting.train.precision != "bf16":
        return contextlib.nullcontext()
    # Without its cache: weights cast where no gradient is wanted would be taken again where one is.
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)


def whole(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Where float32 stays float32, whatever surrounds it: for what a penalty differentiates."""
    if not torch.is_autocast_enabled(device.type):
        return contextlib.nullcontext()
    return torch.autocast(device.type, enabled=False)


def raised(x: Tensor) -> Tensor:
    """Return x, in float32 where it came out in bfloat16."""
    return x.float() if x.dtype == torch.bfloat16 else x
