"""Prediction of whole volumes: at once where memory allows, else in overlapping windows, blended; or by slices.

Where an estimate of the memory was too good, windows (or stacks of slices) are halved until they fit, and the log says
so.
"""

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from upfield.errors import UpfieldError
from upfield.image.nifti import Array
from upfield.methods import Method
from upfield.methods.dropout import has_dropout, sampled
from upfield.training.device import autocast

# Share of the free memory that a forward pass may take.
MEMORY_SHARE = 0.4
# Edge of the probe that measures a method's memory, in voxels of its output (rounded to the method's divisor).
PROBE = 32
# In voxels of the source: what a network sees of the neighbourhood does not shrink because it enlarges.
SMALLEST_WINDOW = 32
# Distinguish the samples of dropout, and those of samplers, from other random numbers.
DROPOUT_SEED, NOISE_SEED = 0xD407, 0x5A3F
# Standard deviation of the Gaussian that smooths variances of samples, voxels.
POOLED = 1.0
# Axial slices that a 2-D method is shown at once.
SLICES = 8


def enhance(methods: Sequence[Method], source: Array, **options: Any) -> Array:
    """The enhanced volume, mean over `methods` (the same method trained with several seeds); see `ensemble`."""
    return ensemble(methods, source, samples=0, **options)[0]


@torch.no_grad()
def ensemble(
    methods: Sequence[Method],
    source: Array,
    *,
    samples: int,
    device: torch.device,
    dtype: torch.dtype,
    overlap: float,
    tta: bool,
    window: int | None = None,
    memory: int | None = None,
    reverse: bool = False,
) -> tuple[Array, Array | None]:
    """The enhanced volume, mean over `methods` and samples of each, and the standard deviation over these members.

    Parameters
    ----------
    samples
        How many samples are drawn of each method that has some: with dropout (Gal and Ghahramani 2016), or of the
        images that a sampler gives; 0 predicts once, without. The same samples every time.
    source
        (X, Y, Z) normalized image on the working grid, or on that grid coarsened by the methods' `scale`; RAS+ axes.
        (C, X, Y, Z) for methods that take C contrasts.
    overlap
        Share of a window that its neighbour covers too.
    tta
        Also predict the left-right mirror image and average; a sampler's samples are of the image alone.
    window
        Edge of the sliding window in voxels of the source; None takes the method's own `window`, the whole volume, or
        the largest window that fits. A 2-D method is shown whole axial slices in any case. Halved where memory runs
        out.
    memory
        Bytes that this process may hold in all, which a scheduler enforces; None for what the machine has.
    reverse
        From target to source, by methods that can.

    Returns two volumes (X, Y, Z) times `scale`, float32 in normalized target units. The standard deviation has n - 1
    in its denominator; it is None if there is one member only. Mirror images are averaged within a member. A sampler
    gives the mean of all its samples by itself, and the standard deviation is that of samples around it, n in its
    denominator, times what made it right in validation; its squares are smoothed by a voxel, since few samples say
    little of one voxel and more of it and those around. Raises UpfieldError if the device has too little memory for the
    smallest window.

    """
    volume = _tensor(source)
    ready = [(Reversed(method) if reverse else method).to(device).eval() for method in methods]
    probed: dict[Method, float] = {}

    def output(method: Method, image: Tensor, mirrored: bool = tta) -> Tensor:
        views = [image, image.flip(2)] if mirrored else [image]
        results = [_run(method, view.to(device), device, dtype, overlap, window, memory, probed) for view in views]
        return (results[0] + results[1].flip(2)) / 2 if mirrored else results[0]

    count = 0
    mean = squares = torch.zeros(())
    for number, method in enumerate(ready):
        for sample in range(samples) if samples and has_dropout(method) else [None]:
            with nullcontext() if sample is None else sampled(method, DROPOUT_SEED, number, sample):
                found = output(method, volume)
            # Welford's running moments: members need not be held in memory together.
            count += 1
            change = found - mean
            mean = mean + change / count
            squares = squares + change * (found - mean)
    if samples and any(method.noise for method in ready):
        count, squares = 1, torch.zeros(())
        for number, method in enumerate(ready):
            for sample in range(samples):
                count += 1
                found = output(method, _with_noise(volume, number, sample), False)
                squares = squares + (method.std_scale * (found - mean)) ** 2
        squares = torch.from_numpy(ndimage.gaussian_filter(squares.numpy(), (0, 0, POOLED, POOLED, POOLED)))
    std = (squares / (count - 1)).sqrt()[0, 0].numpy() if count > 1 else None
    return np.asarray(mean[0, 0].numpy()), std


def draw(method: Method, source: Array, **options: Any) -> Array:
    """The first sample of a sampler that `ensemble` looks at; arguments and result as there, but for one method."""
    shown = _with_noise(_tensor(source), 0, 0)[0].numpy()
    return np.asarray(channels(method, shown, **options)[0])


@torch.no_grad()
def channels(
    method: Method,
    source: Array,
    *,
    device: torch.device,
    dtype: torch.dtype,
    overlap: float,
    window: int | None = None,
    memory: int | None = None,
) -> Array:
    """All channels (C, X, Y, Z) of the output of one method that has several; arguments as of `ensemble`."""
    found = _run(method.to(device).eval(), _tensor(source).to(device), device, dtype, overlap, window, memory, {})
    return np.asarray(found[0].numpy())


def _tensor(source: Array) -> Tensor:
    """(1, C, X, Y, Z) of (X, Y, Z) or (C, X, Y, Z)."""
    volume = torch.from_numpy(np.ascontiguousarray(source, dtype=np.float32))
    return volume[None] if volume.ndim == 4 else volume[None, None]


def _with_noise(volume: Tensor, number: int, sample: int) -> Tensor:
    return torch.cat([volume, noise(volume.shape[2:], number, sample)], dim=1)


def noise(shape: Sequence[int], *seed: int) -> Tensor:
    """What a sampler's sample starts from, (1, 1, X, Y, Z), of the whole volume: windows that overlap agree on it."""
    drawn = np.random.default_rng((NOISE_SEED, *seed)).standard_normal((1, 1, *shape), dtype=np.float32)
    return torch.from_numpy(drawn)


class Reversed(Method):
    """A method that works both ways, the other way round."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method
        self.dims, self.divisor, self.scale = method.dims, method.divisor, method.scale  # type: ignore[misc]

    def forward(self, source: Tensor) -> Tensor:
        """Target to source."""
        return self.method.reverse(source)


def _run(
    method: Method,
    volume: Tensor,
    device: torch.device,
    dtype: torch.dtype,
    overlap: float,
    window: int | None,
    memory: int | None,
    probed: dict[Method, float],
) -> Tensor:
    """One method on one (1, C, X, Y, Z) volume, padded to the method's divisor with its corner's values.

    `probed` keeps what `activation_bytes` found of each method.
    """
    shape = volume.shape[2:]
    x, y, z = (size * factor for size, factor in zip(shape, method.scale, strict=True))
    padding = [p for size in reversed(shape[: method.dims]) for p in (0, -size % method.divisor)]
    padding = [0] * (6 - len(padding)) + padding
    parts = [functional.pad(part, padding, value=float(part.flatten()[0])) for part in volume.split(1, dim=1)]
    padded = torch.cat(parts, dim=1)
    network = partial(_forward, method, device, dtype)
    if method.dims == 2:
        result = _fitting(partial(_by_slices, network, padded), SLICES, 1, 1, "stacks of {} slices")
        return result[:, :, :x, :y]
    window = window or method.window
    if window is None and method not in probed:
        probed[method] = activation_bytes(method, device, dtype)
    edge = window or _window(method, padded, probed[method], memory) or max(padded.shape[2:])
    attempt = partial(_by_windows, network, padded, overlap)
    result = _fitting(attempt, edge, _smallest_window(method), method.divisor, "windows of {} voxels")
    return result[:, :, :x, :y, :z]


def _fitting(attempt: Callable[[int], Tensor], size: int, smallest: int, step: int, what: str) -> Tensor:
    """`attempt(size)`; whenever the device runs out of memory, again with half the size, a multiple of `step`.

    `what` names the size in the log. Raises UpfieldError if not even `smallest` fits.
    """
    while True:
        try:
            return attempt(size)
        except torch.OutOfMemoryError as error:
            if size <= smallest:
                raise UpfieldError(
                    f"out of memory with {what.format(size)}, the least there is; free the GPU, or predict on a CPU"
                ) from error
        # After the handler, whose error holds on to what was computed so far.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        smaller = max(size // 2 // step * step, smallest)
        logging.warning("out of memory with %s; going on with %s", what.format(size), what.format(smaller))
        size = smaller


def _by_slices(network: Callable[[Tensor], Tensor], padded: Tensor, count: int) -> Tensor:
    """A 2-D network on all axial slices of (1, C, X, Y, Z), `count` at a time."""
    stack = padded[0].movedim(-1, 0).split(count)
    return torch.cat([network(slices).cpu() for slices in stack]).movedim(0, -1)[None]


def _by_windows(network: Callable[[Tensor], Tensor], padded: Tensor, overlap: float, edge: int) -> Tensor:
    """A 3-D network on (1, C, X, Y, Z): at once if a window of `edge` voxels holds all of it, else in windows."""
    if edge >= max(padded.shape[2:]):
        return network(padded).cpu()
    edges = [min(edge, size) for size in padded.shape[2:]]
    result = sliding_window_inference(
        padded.cpu(),
        edges,
        sw_batch_size=1,
        predictor=network,
        overlap=overlap,
        roi_weight_map=_weights(edges),
        sw_device=padded.device,
        device="cpu",
    )
    assert isinstance(result, Tensor)
    return result


def _smallest_window(method: Method) -> int:
    return -(-SMALLEST_WINDOW // method.divisor) * method.divisor


def _weights(edges: Sequence[int]) -> Tensor:
    """How much each voxel of a window counts: a Gaussian, sigma an eighth of the edge, shape `edges`.

    Not MONAI's own map, which never falls below a thousandth: near a face of the volume every weight is that small,
    so that the rim of one window, where the network sees padding, would count as much as the middle of the next.
    """
    lines = [torch.exp(-(((torch.arange(edge) - (edge - 1) / 2) / (edge / 8)) ** 2) / 2) for edge in edges]
    return lines[0][:, None, None] * lines[1][:, None] * lines[2]


def _forward(method: Method, device: torch.device, dtype: torch.dtype, x: Tensor) -> Tensor:
    with autocast(device, dtype):
        return method(x.to(device)).float()


def _window(method: Method, volume: Tensor, per_voxel: float, memory: int | None) -> int | None:
    """None if the whole volume fits into memory, else the largest edge that does (a multiple of the divisor)."""
    free = MEMORY_SHARE * free_memory(volume.device, memory)
    if per_voxel * volume[0, 0].numel() <= free:
        return None
    edge = int((free / per_voxel) ** (1 / 3)) // method.divisor * method.divisor
    return max(edge, _smallest_window(method))


def activation_bytes(method: Method, device: torch.device, dtype: torch.dtype) -> float:
    """Bytes of all layer outputs per input voxel of all channels, measured on a small cube: more than lives at once."""
    edge = -(-PROBE // max(method.scale) // method.divisor) * method.divisor
    total = 0

    def count(module: torch.nn.Module, inputs: object, output: object) -> None:
        nonlocal total
        if isinstance(output, Tensor) and not list(module.children()):
            total += output.numel() * output.element_size()

    hooks = [module.register_forward_hook(count) for module in method.modules()]
    try:
        _forward(method, device, dtype, torch.zeros(1, method.in_channels, edge, edge, edge))
    finally:
        for hook in hooks:
            hook.remove()
    return total / edge**3


def free_memory(device: torch.device, allowed: int | None = None) -> int:
    """Bytes that can be taken now; on a CPU no more than this process is `allowed` to hold in all."""
    if device.type == "cuda":
        # What torch keeps of earlier volumes is free as well: else a second volume would get smaller windows.
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    free = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) * 1024
    if allowed is None:
        return free
    held = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return min(free, max(allowed - held, 0))
