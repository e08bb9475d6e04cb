"""Images compared by the features of a network that was trained on photographs, whose weights the user gives."""

from collections.abc import Sequence

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from upfield.catalogue.weights import convolutions
from upfield.errors import UpfieldError

# What torchvision's networks expect of colours in [0, 1].
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Axial slices of a 3-D image that are looked at: enough, since patches lie at random places.
SLICES = 16


class Features:
    """The convolutions of a VGG-style network: convs with ReLU after each, max-pooling of 2 where a number is left out.

    `path` is a safetensors file with tensors `features.N.weight` and `.bias`, N as torchvision numbers the layers;
    `layers` are the N whose outputs are used. The file is read when it is first needed: a trained method does not need
    it. Raises UpfieldError if it is no such network, or too short for `layers`.
    """

    def __init__(self, path: str, layers: Sequence[int]) -> None:
        self.path, self.layers = path, sorted(layers)
        self.weights: dict[int, tuple[Tensor, Tensor]] = {}

    def _read(self, device: torch.device) -> None:
        if not self.weights:
            tensors = load_file(self.path)
            found = convolutions({name: tensor.shape for name, tensor in tensors.items()})
            if not found:
                raise UpfieldError(f"{self.path} is no VGG of convolutions and ReLU alone (one with batch norm, say)")
            if not self.layers or self.layers[-1] > found[-1] + 1:
                raise UpfieldError(f"perceptual_layers is {self.layers}; {self.path} has layers 0 to {found[-1] + 1}")
            self.weights = {n: (tensors[f"features.{n}.weight"], tensors[f"features.{n}.bias"]) for n in found}
        self.weights = {n: (weight.to(device), bias.to(device)) for n, (weight, bias) in self.weights.items()}

    def __call__(self, image: Tensor) -> list[Tensor]:
        """Features (B, C, x, y) of grey images (B, 1, X, Y) with values of about [0, 1], one for each layer."""
        self._read(image.device)
        channels = self.weights[min(self.weights)][0].shape[1]
        x = image.expand(-1, channels, -1, -1)
        if channels == len(MEAN):
            mean, deviation = (x.new_tensor(values)[:, None, None] for values in (MEAN, DEVIATION))
            x = (x - mean) / deviation
        result = []
        for number in range(self.layers[-1] + 1):
            if number in self.weights:
                weight, bias = self.weights[number]
                x = functional.conv2d(x, weight, bias, padding="same")
            else:
                x = functional.relu(x) if number - 1 in self.weights else functional.max_pool2d(x, 2)
            if number in self.layers:
                result.append(x)
        return result

    def pairs(self, output: Tensor, target: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Features of both images, (B, 1, X, Y) or up to 16 axial slices, evenly spaced, of (B, 1, X, Y, Z)."""
        # Half precision overflows in a Gram matrix.
        with torch.autocast(output.device.type, enabled=False):
            found = self(_slices(output.float()))
            with torch.no_grad():
                wanted = self(_slices(target.float()))
        return list(zip(found, wanted, strict=True))


def _slices(image: Tensor) -> Tensor:
    if image.ndim == 4:
        return image
    depth = image.shape[4]
    chosen = torch.linspace(0, depth - 1, min(SLICES, depth)).round().long().tolist()
    return image[..., chosen].movedim(4, 1).flatten(0, 1)


def perceptual(pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Mean squared difference of features, mean over layers (Johnson et al. 2016)."""
    return torch.stack([functional.mse_loss(found, wanted) for found, wanted in pairs]).mean()


def gram(pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Sum of squared differences of the features' Gram matrices, divided by C X Y each (Johnson et al. 2016)."""
    terms = [((_gram(found) - _gram(wanted)) ** 2).sum((1, 2)).mean() for found, wanted in pairs]
    return torch.stack(terms).mean()


def _gram(features: Tensor) -> Tensor:
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / (flat.shape[1] * flat.shape[2])
