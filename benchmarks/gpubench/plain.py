"""A straightforward training loop of the same networks, to compare with: what one would write first."""

import time
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional
from upfield.patches import Store
from upfield.training.device import autocast


def step_seconds(
    networks: Sequence[nn.Module],
    stores: Sequence[Store],
    size: tuple[int, int, int],
    batch: int,
    device: torch.device,
    dtype: torch.dtype,
    enough: Callable[[int], bool],
) -> list[float]:
    """Seconds of each step of a generator, and a discriminator if there are two networks, until `enough(steps)`.

    L1 and least-squares adversarial loss; Adam; no clipping, no augmentation, torch's own memory layout. Patches are
    cut at random out of volumes that are all in memory.
    """
    generator, *rest = (network.to(device) for network in networks)
    adams = [torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999)) for network in (generator, *rest)]
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    volumes = [store.whole() for store in stores]
    random = torch.Generator().manual_seed(0)
    seconds: list[float] = []
    while not enough(len(seconds)):
        begun = time.perf_counter()
        source, target = (images.to(device) for images in _patches(volumes, size, batch, random))
        with autocast(device, dtype):
            fake = generator(source)
        if rest:
            with autocast(device, dtype):
                real_logits, fake_logits = rest[0](target).float(), rest[0](fake.detach()).float()
            loss = (functional.mse_loss(real_logits, torch.ones_like(real_logits)) + (fake_logits**2).mean()) / 2
            _update(adams[1], loss, scaler)
        loss = 100 * functional.l1_loss(fake.float(), target)
        if rest:
            with autocast(device, dtype):
                logits = rest[0](fake).float()
            loss = loss + functional.mse_loss(logits, torch.ones_like(logits))
        _update(adams[0], loss, scaler)
        scaler.update()
        # Waits for the device, as a loop does that logs its loss.
        loss.item()
        seconds.append(time.perf_counter() - begun)
    return seconds


def _update(adam: torch.optim.Optimizer, loss: torch.Tensor, scaler: torch.amp.GradScaler) -> None:
    adam.zero_grad(set_to_none=True)
    scaler.scale(loss).backward(retain_graph=False)
    scaler.step(adam)


def _patches(
    volumes: Sequence[dict[str, torch.Tensor]], size: Sequence[int], batch: int, random: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    pairs = []
    for _ in range(batch):
        volume = volumes[int(torch.randint(len(volumes), (1,), generator=random))]
        shape = volume["target"].shape[1:]
        low = [
            int(torch.randint(max(n - edge, 0) + 1, (1,), generator=random))
            for n, edge in zip(shape, size, strict=True)
        ]
        x, y, z = (slice(a, a + edge) for a, edge in zip(low, size, strict=True))
        pairs.append((volume["source"][:, x, y, z], volume["target"][:, x, y, z]))
    return torch.stack([source for source, _ in pairs]), torch.stack([target for _, target in pairs])
