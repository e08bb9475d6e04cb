"""Methods at published or small size, batches for them, and single steps with the library's optimisers."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from upfield import methods
from upfield.catalogue.methods import built_in
from upfield.methods import Batch, Method, parameter_counts
from upfield.study import config
from upfield.training.device import autocast
from upfield.training.optimisers import Optimisers

METHODS = ("unet3d", "unet3d_patchgan", "lohiresgan", "srdcgan", "srgan3d", "cyclegan")
DEFAULT = "unet3d_patchgan"
# The method that is planned, and what it is compared with.
PLANNED, SUPERVISED = "upfield", "unet3d"
# Their rates are higher: they have fewer steps to show that they learn.
SMALL: Mapping[str, Mapping[str, Any]] = {
    "unet3d": {"base": 2, "levels": 2, "lr": 2e-3},
    "unet3d_patchgan": {"base": 2, "levels": 2, "discriminator_base": 2, "lr": 2e-3},
    "lohiresgan": {"base": 4, "blocks": 1, "discriminator_base": 4, "lr": 2e-3},
    "srdcgan": {"lr": 2e-3},
    "srgan3d": {"filters": 4, "blocks": 1, "discriminator_base": 4, "discriminator_dense": 16, "lr": 2e-3},
    "cyclegan": {"width": 4, "blocks": 1, "discriminator_width": 4, "lr": 2e-3},
    "upfield": {"base": 4, "levels": 1, "blocks": 1, "patch": [24, 24, 24]},
}
# What measures how near an output is to its target, of what the methods report.
NEARNESS = ("l1", "matching")
# Half precision loses gradients that are not scaled. Torch starts at 2^16, skips steps that overflow and halves its
# scale after each; for a single step one must try.
SCALES = (2.0**10, 2.0**6, 2.0**3, 1.0)


def settings(name: str, *, small: bool, batch: int | None) -> dict[str, Any]:
    """Resolved settings of a method; `batch` None is its own number of images."""
    overrides = dict(SMALL[name]) if small else {}
    if batch is not None:
        overrides["batch_size"] = batch
    return config.resolved(built_in(name), overrides)


def build(values: Mapping[str, Any], seed: int = 0) -> Method:
    """A method whose every layer counts: those that start at zero, so that nothing behind them learns, do not here."""
    torch.manual_seed(seed)
    method = methods.build(values)
    with torch.no_grad():
        for parameter in method.parameters():
            if parameter.ndim > 1 and not parameter.any():
                # So that what it adds is as large as its input.
                parameter.normal_(std=parameter[0].numel() ** -0.5)
    return method


def size_of(method: Method) -> str:
    """`58.8 M + 11 M weights`."""
    return " + ".join(f"{count / 1e6:.3g} M" for count in parameter_counts(method).values()) + " weights"


def shape_of(method: Method, cube: int, square: int) -> tuple[int, ...]:
    """Edges of a target of the size that a form says, without the channel."""
    return (cube,) * 3 if method.dims == 3 else (square,) * 2


def make_batch(method: Method, shape: Sequence[int], count: int, seed: int = 1) -> Batch:
    """Random images with structure at several sizes, about 0 to 1; the source is their blurred, noisy, reduced form."""
    random = torch.Generator().manual_seed(seed)
    mode = "trilinear" if len(shape) == 3 else "bilinear"
    target = torch.zeros(count, 1, *shape)
    for cells in (4, 8, 16):
        coarse = torch.rand(count, 1, *(cells for _ in shape), generator=random)
        target += functional.interpolate(coarse, size=tuple(shape), mode=mode, align_corners=False) / 3
    pool = functional.avg_pool3d if len(shape) == 3 else functional.avg_pool2d
    scale = method.scale[: len(shape)]
    source = pool(target, scale) if max(scale) > 1 else pool(target, 3, 1, 1)
    source = 0.7 * source + 0.1 + 0.02 * torch.randn(source.shape, generator=random)
    return {"source": source, "target": target, "mask": torch.ones_like(target)}


def moved(batch: Batch, device: torch.device | str) -> Batch:
    """The batch on a device."""
    return {name: value.to(device) for name, value in batch.items()}


class Stepper:
    """A method on a device in a precision, with the optimisers and the arithmetic of the library's training."""

    def __init__(
        self, method: Method, device: torch.device, dtype: torch.dtype, channels_last: bool, scale: float = 2.0**16
    ) -> None:
        self.device, self.dtype = device, dtype
        self.method = method.to(device)
        if channels_last and method.dims == 3:
            self.method.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.scaler = torch.amp.GradScaler(device.type, init_scale=scale, enabled=dtype == torch.float16)
        self.optimisers = Optimisers(self.method, self.scaler, {}, 1)

    def step(self, batch: Batch) -> dict[str, float]:
        """One training step on a batch that is on the device; the losses."""
        self.method.train()
        with autocast(self.device, self.dtype):
            losses = self.method.training_step(batch, self.optimisers.update)
        self.optimisers.finish()
        return {name: float(value) for name, value in losses.items()}

    @torch.no_grad()
    def forward(self, source: Tensor) -> Tensor:
        """The enhanced image, float32 on the CPU, with the statistics of the batch.

        With the running statistics of a network that has seen nothing, hardly anything would come through.
        """
        self.method.train()
        with autocast(self.device, self.dtype):
            return self.method(source.to(self.device)).float().cpu()

    def gradients(self) -> dict[str, Tensor]:
        """Gradients of the last step by name, as they were clipped, on the CPU."""
        return {
            name: parameter.grad.detach().float().cpu()
            for name, parameter in self.method.named_parameters()
            if parameter.grad is not None
        }


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Whether a GPU may round the factors of fp32 products to 10 bits, as torch lets convolutions do by default."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
