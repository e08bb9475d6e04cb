"""Where a network starts: a blur and a curve, fitted on training pairs; and networks that work on cells of voxels."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from upfield import methods
from upfield.catalogue.methods import facts
from upfield.image.gaussian import windowed
from upfield.methods import model
from upfield.methods.start import KNOTS, Start
from upfield.methods.upsampling import PixelShuffle3D, folded, unfolded
from upfield.patches import Store, write_store
from upfield.training.start import fit_starts

pytestmark = pytest.mark.usefixtures("one_thread")
FACTS = facts("upfield")


def made(**values):
    settings = FACTS.resolved("default", {"base": 4, "levels": 2, "blocks": 1, **values})
    return methods.build({"module": FACTS.document["module"], **settings})


@pytest.fixture
def pair(tmp_path):
    """A store: the target is a curve of the source, blurred along some axes; outside the brain both are constant."""

    def write(sigmas, curve, seed=0):
        dice = np.random.default_rng(seed)
        source = ndimage.gaussian_filter(dice.normal(size=(28, 30, 26)), 0.6).astype(np.float32)
        mask = np.zeros(source.shape, dtype=bool)
        mask[4:24, 4:26, 4:22] = True
        source = np.where(mask, source, -1.5)
        target = curve(ndimage.gaussian_filter(source, sigmas)).astype(np.float32)
        path = tmp_path / f"sub-{seed}.safetensors"
        write_store(path, source, np.where(mask, target, -0.25), mask, 1.0)
        return Store(path)

    return write


def test_blur_is_that_of_scipy():
    image = np.random.default_rng(0).normal(size=(30, 31, 32)).astype(np.float32)
    found = windowed(torch.from_numpy(image)[None, None], (13, 13, 13), (0.0, 0.6, 1.2))[0, 0].numpy()
    wanted = ndimage.gaussian_filter(image, (0.0, 0.6, 1.2), truncate=5)[6:-6, 6:-6, 6:-6]
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_the_blur_and_the_curve_are_found(pair):
    network = made()
    before = network.generator.start(torch.tensor([-1.0, 0.0, 0.3, 1.0]).view(1, 1, 4, 1, 1).expand(1, 1, 4, 8, 8))
    assert before[0, 0, :, 3, 3].tolist() == pytest.approx([-1, 0, 0.3, 1], abs=1e-5), "unfitted it changes nothing"
    fit_starts(network, [pair(0.8, lambda x: np.tanh(3 * x), seed) for seed in (0, 1)])
    start = network.generator.start
    assert start.sigmas.tolist() == pytest.approx([0.8] * 3)
    other = pair(0.8, lambda x: np.tanh(3 * x), 2).whole()
    inside = other["mask"][0] > 0
    error = (start(other["source"][None])[0, 0] - other["target"][0])[inside]
    assert error.abs().mean() < 0.02
    assert float(start(torch.full((1, 1, 4, 4, 4), -1.5)).mean()) == pytest.approx(-0.25, abs=1e-3), "the background"
    assert (start.shown.diff() > 0).all() and len(start.shown) == KNOTS


def test_thick_slices_may_stay_out_of_the_blur(pair):
    network = made(flat_levels=[0, 0, 1])
    fit_starts(network, [pair((1.0, 1.0, 0.0), lambda x: 2 - x)])
    assert network.generator.start.sigmas.tolist() == [1, 1, 0]


def test_a_network_begins_at_its_start_and_keeps_it_in_its_file(pair, tmp_path):
    network = made(fold=True)
    fit_starts(network, [pair(0.6, np.square)])
    network.eval()
    source = torch.rand(1, 1, 16, 16, 16)
    assert torch.equal(network(source), network.generator.start(source))
    settings = FACTS.resolved("default", {"base": 4, "levels": 2, "blocks": 1, "fold": True})
    model.save(tmp_path, network.state_dict(), {"module": FACTS.document["module"], "settings": settings})
    again, _ = model.load(tmp_path)
    assert torch.equal(network(source), again(source))
    assert not torch.equal(made(fold=True).eval()(source), again(source))


def test_a_flat_brain_has_a_curve(tmp_path):
    write_store(tmp_path / "a.safetensors", np.ones((8, 8, 8)), np.ones((8, 8, 8)), np.ones((8, 8, 8), dtype=bool), 1.0)
    network = made()
    fit_starts(network, [Store(tmp_path / "a.safetensors")])
    assert torch.isfinite(network.generator.start(torch.rand(1, 1, 8, 8, 8))).all()


def test_it_is_the_same_in_half_precision():
    start, image = Start(), torch.rand(1, 1, 8, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(start(image), Start()(image)) and start(image).dtype == torch.float32


@pytest.mark.parametrize("cell", [(2, 2, 2), (2, 1, 2), (1, 1, 3)])
def test_cells_are_folded_and_unfolded(cell):
    image = torch.arange(2 * 3 * 4 * 6 * 6).view(2, 3, 4, 6, 6)
    cells = folded(image, cell)
    assert torch.equal(unfolded(cells, cell), image)
    # The channels of a cell are its voxels, the last axis first.
    assert (
        cells[1, : np.prod(cell), 0, 0, 0].tolist() == image[1, 0, : cell[0], : cell[1], : cell[2]].flatten().tolist()
    )
    if cell == (2, 2, 2):
        assert torch.equal(PixelShuffle3D()(cells), image)


@pytest.mark.parametrize("flat", [[0, 0, 0], [0, 0, 2], [1, 0, 0]])
def test_a_folded_network_halves_as_often(flat):
    for fold in (True, False):
        network = made(fold=fold, flat_levels=flat, fitted_start=False)
        source = torch.rand(1, 1, 8, 12, 4)
        assert network.divisor == 4 and torch.equal(network.eval()(source), source)
