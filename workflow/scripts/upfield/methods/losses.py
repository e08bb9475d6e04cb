"""Losses that methods share; all are computed in float32, whatever the precision of the networks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from monai.metrics.regression import compute_ssim_and_cs
from torch import Tensor
from torch.nn import functional

from upfield.methods.perceptual import Features, gram, perceptual


@dataclass(frozen=True)
class Labels:
    """Noisy targets of a discriminator: uniform in the range `real` or `fake`, the two swapped with p `flip`."""

    real: tuple[float, float]
    fake: tuple[float, float]
    flip: float

    def draw(self, logits: Tensor, real: bool, generator: torch.Generator) -> Tensor:
        """A label for every logit; `generator` (on the CPU) decides everything."""
        uniform, chance = torch.rand((2, *logits.shape), generator=generator)
        as_real = (chance < self.flip) != real
        low = torch.where(as_real, self.real[0], self.fake[0])
        high = torch.where(as_real, self.real[1], self.fake[1])
        return (low + uniform * (high - low)).to(logits)


def adversarial(logits: Tensor, real: bool, kind: str, labels: Tensor | None = None) -> Tensor:
    """Loss of calling `logits` real or fake: `lsgan` (squared error on raw logits, Mao et al. 2017) or `bce`.

    `labels` replaces the labels 1 (real) and 0 (fake). Raises ValueError for another kind.
    """
    labels = torch.full_like(logits, float(real)) if labels is None else labels
    if kind == "lsgan":
        return functional.mse_loss(logits.float(), labels.float())
    if kind == "bce":
        return functional.binary_cross_entropy_with_logits(logits.float(), labels.float())
    raise ValueError(f"gan_loss is {kind!r}; expected lsgan or bce")


def gradient_difference(output: Tensor, target: Tensor) -> Tensor:
    """Squared difference of the absolute differences between neighbours, summed over axes, mean over voxels.

    After Mathieu et al. 2016 with exponent 2. A voxel at the far edge has no neighbour there and counts as zero.
    """
    squares = [
        ((output.diff(dim=axis).abs() - target.diff(dim=axis).abs()) ** 2).sum() for axis in range(2, output.ndim)
    ]
    return torch.stack(squares).sum() / target.numel()


def structural_dissimilarity(output: Tensor, target: Tensor, span: float = 1.0) -> Tensor:
    """1 - mean SSIM (Wang et al. 2004: Gaussian window of 11 voxels, sigma 1.5); `span` is the range of intensities."""
    dims = output.ndim - 2
    # Variances as differences of means lose everything in half precision.
    with torch.autocast(output.device.type, enabled=False):
        similarity, _ = compute_ssim_and_cs(output.float(), target.float(), dims, [11] * dims, [1.5] * dims, span)
    return 1 - similarity.mean()


def spectral_difference(output: Tensor, target: Tensor) -> Tensor:
    """Mean magnitude of the orthonormal Fourier transform of the difference."""
    axes = tuple(range(2, output.ndim))
    return torch.fft.fftn((output - target).float(), dim=axes, norm="ortho").abs().mean()


class Content:
    """How far an output is from its target: a weighted sum of terms, see docs/methods.md.

    Intensities span about [`low`, `low` + `span`]. `reduction` is `mean`, or `sum`: the mean times the number of
    voxels of the batch. `features` are for the terms `perceptual` and `gram`. Raises ValueError for an unknown term or
    reduction, or if features are wanted and absent.
    """

    def __init__(
        self,
        weights: Mapping[str, float],
        span: float = 1.0,
        reduction: str = "mean",
        low: float = 0.0,
        features: Features | None = None,
    ) -> None:
        terms: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
            "l1": functional.l1_loss,
            "mse": functional.mse_loss,
            "gradient": gradient_difference,
            "ssim": lambda output, target: structural_dissimilarity(output, target, span),
            "fft": spectral_difference,
        }
        of_features = {"perceptual": perceptual, "gram": gram}
        unknown = sorted(set(weights) - set(terms) - set(of_features))
        if unknown:
            raise ValueError(f"content has {', '.join(unknown)}; expected {', '.join([*terms, *of_features])}")
        if reduction not in ("mean", "sum"):
            raise ValueError(f"reduction is {reduction!r}; expected mean or sum")
        self.terms = [(weight, terms[name]) for name, weight in weights.items() if weight and name in terms]
        self.feature_terms = [
            (weight, of_features[name]) for name, weight in weights.items() if weight and name in of_features
        ]
        if self.feature_terms and features is None:
            raise ValueError("content.perceptual and content.gram need perceptual_weights")
        self.low, self.span, self.features = low, span, features
        self.reduction = reduction

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        """The weighted sum, a scalar; zero without any term."""
        output, target = output.float(), target.float()
        total = output.new_zeros(())
        for weight, term in self.terms:
            total = total + weight * term(output, target)
        if self.feature_terms and self.features is not None:
            pairs = self.features.pairs(*((image - self.low) / self.span for image in (output, target)))
            for weight, compare in self.feature_terms:
                total = total + weight * compare(pairs)
        return total * target.numel() if self.reduction == "sum" else total
