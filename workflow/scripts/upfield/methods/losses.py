"""Losses that methods share; all are computed in float32, whatever the precision of the networks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from upfield.image.gaussian import windowed
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


def mean(values: Tensor, counted: Tensor | None = None) -> Tensor:
    """The mean of a map of values; with `counted`, of the same size or with one channel, a weighted one."""
    if counted is None:
        return values.mean()
    counted = counted.expand_as(values)
    return (values * counted).sum() / counted.sum().clamp(min=1e-6)


def absolute_difference(output: Tensor, target: Tensor, counted: Tensor | None = None) -> Tensor:
    """Mean absolute difference; `counted` as in `mean`."""
    return functional.l1_loss(output, target) if counted is None else mean((output - target).abs(), counted)


def squared_difference(output: Tensor, target: Tensor, counted: Tensor | None = None) -> Tensor:
    """Mean squared difference; `counted` as in `mean`."""
    return functional.mse_loss(output, target) if counted is None else mean((output - target) ** 2, counted)


def gradient_difference(output: Tensor, target: Tensor, counted: Tensor | None = None) -> Tensor:
    """Squared difference of the absolute differences between neighbours, summed over axes, mean over voxels.

    After Mathieu et al. 2016 with exponent 2. A voxel at the far edge has no neighbour there and counts as zero.
    Two neighbours are `counted` as much as the one that counts less.
    """
    squares, voxels = [], target.numel() if counted is None else counted.expand_as(target).sum().clamp(min=1e-6)
    for axis in range(2, output.ndim):
        square = (output.diff(dim=axis).abs() - target.diff(dim=axis).abs()) ** 2
        if counted is not None:
            size = counted.shape[axis] - 1
            square = square * torch.minimum(counted.narrow(axis, 0, size), counted.narrow(axis, 1, size))
        squares.append(square.sum())
    return torch.stack(squares).sum() / voxels


def structural_dissimilarity(
    output: Tensor, target: Tensor, span: float = 1.0, counted: Tensor | None = None
) -> Tensor:
    """1 - mean SSIM (Wang et al. 2004: Gaussian window of 11 voxels, sigma 1.5); `span` is the range of intensities.

    Along an axis with fewer voxels the window is as large as an odd number of them. `counted` as in `mean`, of the
    voxels around which a whole window lies in the patch.
    """
    windows = [min(11, size - 1 + size % 2) for size in output.shape[2:]]
    sigmas = [1.5] * len(windows)
    steady, low = (0.01 * span) ** 2, (0.03 * span) ** 2
    # Variances as differences of means lose everything in half precision.
    with torch.autocast(output.device.type, enabled=False):
        x, y = output.float(), target.float()
        mean_x, mean_y, squares_x, squares_y, products = windowed(
            torch.stack([x, y, x * x, y * y, x * y]), windows, sigmas
        )
        varies = squares_x - mean_x**2 + squares_y - mean_y**2
        similarity = (2 * mean_x * mean_y + steady) / (mean_x**2 + mean_y**2 + steady)
        similarity = similarity * (2 * (products - mean_x * mean_y) + low) / (varies + low)
    if counted is not None:
        for axis, size in enumerate(windows, 2):
            counted = counted.narrow(axis, size // 2, counted.shape[axis] - size + 1)
    return 1 - mean(similarity, counted)


def spectral_difference(output: Tensor, target: Tensor, counted: Tensor | None = None) -> Tensor:
    """Mean magnitude of the orthonormal Fourier transform of the difference, times what is `counted`."""
    axes = tuple(range(2, output.ndim))
    difference = (output - target).float() if counted is None else (output - target).float() * counted
    return torch.fft.fftn(difference, dim=axes, norm="ortho").abs().mean()


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
        plain: Mapping[str, Callable[[Tensor, Tensor, Tensor | None], Tensor]] = {
            "l1": absolute_difference,
            "mse": squared_difference,
            "gradient": gradient_difference,
            "ssim": lambda output, target, counted: structural_dissimilarity(output, target, span, counted),
            "fft": spectral_difference,
        }
        of_features = {"perceptual": perceptual, "gram": gram}
        unknown = sorted(set(weights) - set(plain) - set(of_features))
        if unknown:
            raise ValueError(f"content has {', '.join(unknown)}; expected {', '.join([*plain, *of_features])}")
        if reduction not in ("mean", "sum"):
            raise ValueError(f"reduction is {reduction!r}; expected mean or sum")
        self.weights = {name: weight for name, weight in weights.items() if weight}
        self.plain = {name: plain[name] for name in self.weights if name in plain}
        self.of_features = {name: of_features[name] for name in self.weights if name in of_features}
        if self.of_features and features is None:
            raise ValueError("content.perceptual and content.gram need perceptual_weights")
        self.low, self.span, self.features = low, span, features
        self.reduction = reduction

    def terms(self, output: Tensor, target: Tensor, counted: Tensor | None = None) -> dict[str, Tensor]:
        """Every term that has a weight, without it; `counted` as in `mean`, which terms of features do not look at."""
        output, target = output.float(), target.float()
        found = {name: term(output, target, counted) for name, term in self.plain.items()}
        if self.of_features and self.features is not None:
            pairs = self.features.pairs(*((image - self.low) / self.span for image in (output, target)))
            found |= {name: compare(pairs) for name, compare in self.of_features.items()}
        return found

    def weighted(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of terms, a scalar; zero without any."""
        return sum((self.weights[name] * term for name, term in terms.items()), start=torch.zeros(()))

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        """The weighted sum over whole patches, a scalar; zero without any term."""
        total = self.weighted(self.terms(output, target))
        return total * target.numel() if self.reduction == "sum" else total
