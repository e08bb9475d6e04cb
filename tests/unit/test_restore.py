"""`restore`: what its network sees of an image as a whole, what it can do, and how patches count."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from upfield import methods
from upfield.image.gaussian import blurred
from upfield.methods.restore import BESIDE, NEAREST, SIGMAS
from upfield.methods.steered import cubes, fingerprint, voxels
from upfield.study.config import method_settings
from upfield.training.optimisers import Optimisers


def built(**overrides):
    torch.manual_seed(0)
    over = {"base": 2, "blocks": 1, "augmentation": {"flip": 0.0}} | overrides
    return methods.build(method_settings({"method_overrides": {"restore": over}}, "restore"), 1)


def textured(seed=0, size=24):
    values = np.random.default_rng(seed).standard_normal((2, 1, size, size, size))
    smooth = ndimage.gaussian_filter(values, (0, 0, 2, 2, 2))
    return torch.from_numpy(smooth / smooth.std()).float() / 4 + 0.5


def noisy(image, level, seed=9):
    return image + level * torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))


def test_it_starts_as_the_identity():
    image = textured()
    assert torch.equal(built()(image), image)


def test_noise_and_thick_slices_show_in_the_fingerprint():
    image = textured()
    plain, noise = fingerprint(image), fingerprint(noisy(image, 0.1))
    assert plain.shape == (2, 18)
    assert (noise[:, :6] > plain[:, :6] + 0.3).all(), "at the distance of 1 voxel"
    thick = torch.from_numpy(ndimage.gaussian_filter(image.numpy(), (0, 0, 0, 0, 3)))
    lost = plain - fingerprint(thick)
    for number in (4, 5):
        across = lost[:, number - 4 : number : 2].abs().amax(dim=1)
        assert (lost[:, number] > 0.5).all() and (lost[:, number] > 2 * across).all(), "along Z"
    # Twice the signal is as much more of everything.
    assert fingerprint(2 * image) - plain == pytest.approx(np.log(2), abs=0.05)


def test_what_is_flat_says_nothing():
    image = noisy(textured(size=32), 0.1)
    alone = image.clone()
    alone[..., :12] = 0.0
    # Along X and Y, along which nothing ends.
    assert fingerprint(alone)[:, :4] == pytest.approx(fingerprint(image)[:, :4], abs=0.1)


def test_edges_that_are_few_are_told_from_noise():
    image = torch.zeros(1, 1, 32, 32, 32)
    image[:, :, 16:] = 1.0
    edge, noise = fingerprint(noisy(image, 0.01))[0], fingerprint(noisy(torch.zeros_like(image), 0.125))[0]
    # About as large squares along X, and far smaller roots.
    assert float(edge[0]) == pytest.approx(float(noise[0]), abs=0.3)
    assert edge[1] < noise[1] - 1


def test_voxels_of_a_cube_become_channels_and_come_back():
    image = torch.randn(2, 3, 4, 6, 8)
    packed = cubes(image)
    assert packed.shape == (2, 24, 2, 3, 4)
    assert torch.equal(packed[0, :8, 1, 2, 3].sort().values, image[0, 0, 2:4, 4:6, 6:8].flatten().sort().values)
    assert torch.equal(voxels(packed), image)


def test_images_of_a_batch_do_not_see_each_other():
    method = built()
    for parameter in method.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(1))
    batch = noisy(textured(), 0.1)
    with torch.no_grad():
        both, alone = method(batch), torch.cat([method(batch[:1]), method(batch[1:])])
    assert both == pytest.approx(alone, abs=1e-5)


def test_it_cannot_run_away():
    """Whatever the weights, each band is at most lost or doubled, and little is added."""
    method = built()
    for parameter in method.parameters():
        torch.nn.init.normal_(parameter, std=0.4, generator=torch.Generator().manual_seed(2))
    image = noisy(textured(), 0.2)
    with torch.no_grad():
        change = (method(image) - image).abs()
    smooth = [image, *(blurred(image, (sigma,) * 3, math.ceil(3 * sigma)) for sigma in SIGMAS)]
    bands = sum((fine - coarse).abs() for fine, coarse in itertools.pairwise(smooth))
    assert (change <= bands + BESIDE + 1e-4).all()


def test_a_patch_with_little_wrong_counts_as_much():
    """The loss of two patches, of which one is ten times worse, hangs on both alike."""
    method, target = built(content={"l1": 1.0}), textured()
    source = target + torch.tensor([0.05, 0.5])[:, None, None, None, None]
    found = {}
    batch = {"source": source, "target": target, "mask": torch.ones_like(target)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(method.content, "terms", lambda output, wanted, counted: found.update(counted=counted) or {})
        method.training_step(batch, lambda generator: None)
    first, second = found["counted"].mean(dim=(1, 2, 3, 4)).tolist()
    assert first / second == pytest.approx((0.5 + NEAREST) / (0.05 + NEAREST), rel=1e-3)


def test_it_learns_how_much_to_smooth():
    """One network takes more from what is noisier."""
    method = built(lr=1e-2, base=4)
    steps = Optimisers(method, torch.amp.GradScaler("cpu", enabled=False), {}, 1)
    target = textured(size=16)
    level = torch.tensor([0.02, 0.3])[:, None, None, None, None]
    for step in range(60):
        source = target + level * torch.randn(target.shape, generator=torch.Generator().manual_seed(step))
        method.training_step({"source": source, "target": target, "mask": torch.ones_like(target)}, steps.update)
    source = target + level * torch.randn(target.shape, generator=torch.Generator().manual_seed(1000))
    with torch.no_grad():
        after, before = (((image - target) ** 2).mean(dim=(1, 2, 3, 4)) for image in (method(source), source))
    assert after[1] < 0.25 * before[1]
    assert after[0] < 2 * before[0]
