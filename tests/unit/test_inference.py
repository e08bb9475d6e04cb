"""Whole volumes and windows give the same image; nothing about the tiling may show."""

import numpy as np
import psutil
import pytest
import torch
from upfield import methods
from upfield.errors import UpfieldError
from upfield.methods import Method
from upfield.predict import inference
from upfield.study.config import method_settings

CPU = torch.device("cpu")
SMALL = {
    "unet3d": {"base": 4, "levels": 2},
    "unet3d_patchgan": {"base": 4, "levels": 2, "discriminator_base": 4},
}


pytestmark = pytest.mark.usefixtures("one_thread")


class Function(Method):
    """A method that is one function, and remembers the inputs it was shown.

    Where no window is given, the first input is the probe that measures memory.
    """

    def __init__(self, function=torch.clone, divisor=1):
        super().__init__()
        self.function, self.divisor, self.seen = function, divisor, []

    def forward(self, source):
        self.seen.append(source.clone())
        return self.function(source)

    @property
    def shapes(self):
        return [tuple(source.shape[2:]) for source in self.seen]


def enhance(found, source, **options):
    found = found if isinstance(found, list) else [found]
    return inference.enhance(
        found, source, **{"device": CPU, "dtype": torch.float32, "overlap": 0.5, "tta": False} | options
    )


def noise(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def network(name, preset="corrected"):
    """A network as training leaves it: weights in every layer, running statistics of real batches."""
    torch.manual_seed(1)
    overrides = {name: {**SMALL[name], "preset": preset}}
    method = methods.build(method_settings({"method_overrides": overrides}, name))
    torch.nn.init.normal_(method.generator.head.weight, std=0.3)
    torch.nn.init.normal_(method.generator.head.bias, std=0.3)
    method.train()
    with torch.no_grad():
        for step in range(30):
            brightness, contrast = 0.1 * (step % 5), 0.5 + 0.1 * (step % 7)
            method(brightness + contrast * torch.rand(2, 1, 16, 16, 16))
    return method


def ramp(*shape):
    """Intensity rises from corner to corner: any change of brightness from tile to tile shows."""
    steps = [np.linspace(0, 1, size, dtype=np.float32) for size in shape]
    return (steps[0][:, None, None] + steps[1][:, None] + steps[2]) / 3


def difference(method, volume):
    """Root mean square of tiled minus whole, in standard deviations of the whole."""
    whole, tiled = (enhance(method, volume, window=window) for window in (None, 32))
    return float(np.sqrt(((tiled - whole) ** 2).mean()) / whole.std())


@pytest.mark.parametrize("name", SMALL)
def test_tiling_does_not_show(name):
    method = network(name)
    trained = [module for module in method.modules() if isinstance(module, torch.nn.BatchNorm3d)]
    assert trained and all(module.running_mean.abs().max() > 1e-3 for module in trained)
    assert difference(method, ramp(56, 48, 52)) < 0.01


def test_instance_norm_would_show():
    """What the test above is there to catch."""
    assert difference(network("unet3d_patchgan", "faithful"), ramp(56, 48, 52)) > 0.05


@pytest.mark.parametrize("shape", [(17, 23, 9), (8, 8, 8), (5, 31, 1)])
@pytest.mark.parametrize("window", [4, 7, 16, 64])
@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.5, 0.75])
def test_stitching_gives_every_voxel_back(shape, window, overlap):
    source = noise(*shape)
    result = enhance(Function(), source, window=window, overlap=overlap)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, source, rtol=1e-5, atol=1e-6)


def test_windows_without_overlap_stand_side_by_side():
    """Each window becomes its own mean, which is known."""
    source = noise(8, 4, 4)
    source[4:] += 10
    method = Function(lambda x: x.mean(dim=(2, 3, 4), keepdim=True).expand_as(x).contiguous())
    result = enhance(method, source, window=4, overlap=0.0)
    np.testing.assert_allclose(result[:4], source[:4].mean(), rtol=1e-5)
    np.testing.assert_allclose(result[4:], source[4:].mean(), rtol=1e-5)


def test_overlapping_windows_are_blended_smoothly():
    """Two windows that disagree, 0 and 1: in their overlap the result climbs from one to the other."""
    source = np.repeat(np.arange(12, dtype=np.float32)[:, None, None], 8, 1).repeat(8, 2)
    method = Function(lambda x: (x[:, :, :1] > 0).float().expand_as(x).contiguous())
    line = enhance(method, source, window=8)[:, 4, 4]
    np.testing.assert_allclose(line[:4], 0, atol=1e-6)
    np.testing.assert_allclose(line[8:], 1, atol=1e-6)
    assert (np.diff(line[3:9]) > 0).all()
    np.testing.assert_allclose(line[4:8] + line[4:8][::-1], 1, atol=1e-5)


@pytest.mark.parametrize("window", [64, 8])
def test_volume_is_padded_to_the_divisor_with_background(window):
    source = noise(13, 16, 3) + 100
    source[0, 0, 0] = -7
    method = Function(divisor=8)
    result = enhance(method, source, window=window, overlap=0.0)
    assert all(size % 8 == 0 for shape in method.shapes for size in shape)
    assert sum(np.prod(shape) for shape in method.shapes) == 16 * 16 * 8
    padding = torch.cat([seen[seen < 50] for seen in method.seen])
    assert len(padding) == 16 * 16 * 8 - 13 * 16 * 3 + 1 and (padding == -7).all()
    np.testing.assert_allclose(result, source, rtol=1e-5)


def test_several_models_are_averaged():
    source = noise(6, 7, 8)
    found = [Function(lambda x: x + 1), Function(lambda x: 2 * x), Function(lambda x: x - 4)]
    np.testing.assert_allclose(enhance(found, source), (4 * source - 3) / 3, rtol=1e-5, atol=1e-5)


def test_mirrored_prediction_of_an_equivariant_method_is_the_same():
    source = noise(9, 8, 7)
    method = Function(lambda x: 3 * x.abs() - 1)
    plain, both = (enhance(method, source, tta=tta, window=64) for tta in (False, True))
    np.testing.assert_allclose(both, plain, rtol=1e-6)
    mirrored = method.seen[2]
    np.testing.assert_array_equal(mirrored[0, 0].numpy(), source[::-1])


def test_mirrored_prediction_takes_out_what_depends_on_the_side():
    source = noise(6, 7, 8)
    method = Function(lambda x: x + torch.arange(6.0)[:, None, None])
    np.testing.assert_allclose(enhance(method, source, tta=True, window=64), source + 2.5, rtol=1e-5, atol=1e-5)


def test_mirroring_and_averaging_go_together():
    source = noise(4, 5, 6)
    found = [Function(lambda x: x + torch.arange(4.0)[:, None, None]), Function(lambda x: x + 10)]
    np.testing.assert_allclose(enhance(found, source, tta=True, window=64), source + 5.75, rtol=1e-5, atol=1e-5)


def test_window_is_the_largest_that_fits(monkeypatch):
    source = noise(70, 52, 64)
    # The identity has one output of 4 bytes a voxel.
    for edge, expected in ((100, (72, 56, 64)), (50.5, (48, 48, 48)), (3, (32, 32, 32))):
        free = 4 * edge**3 / inference.MEMORY_SHARE
        monkeypatch.setattr(inference, "free_memory", lambda *_, free=free: int(free))
        method = Function(divisor=8)
        result = enhance(method, source)
        probe, *windows = method.shapes
        assert probe == (32, 32, 32)
        assert set(windows) == {expected}
        assert (len(windows) == 1) == (edge == 100)
        np.testing.assert_allclose(result, source, rtol=1e-5, atol=1e-6)


def test_memory_of_a_network_is_counted_from_its_layers():
    """A convolution to 5 channels and a ReLU on them: 10 numbers a voxel, half as many bytes in bf16 on either."""

    class TwoLayers(Method):
        def __init__(self):
            super().__init__()
            self.network = torch.nn.Sequential(torch.nn.Conv3d(1, 5, 3, padding=1), torch.nn.ReLU())

        def forward(self, source):
            return self.network(source)

    method = TwoLayers()
    assert inference.activation_bytes(method, CPU, torch.float32) == 40
    assert inference.activation_bytes(method, CPU, torch.bfloat16) == 20
    assert not any(module._forward_hooks for module in method.modules())


def test_free_memory_is_what_the_machine_has():
    assert 2**20 < inference.free_memory(CPU) < 2**50


def test_free_memory_is_never_more_than_a_job_asked_for():
    used = psutil.Process().memory_info().rss
    assert inference.free_memory(CPU, used // 2) == 0
    assert 0 < inference.free_memory(CPU, used + 2**26) < 2**27


def test_methods_are_evaluated_without_gradients():
    method = network("unet3d")
    method.train()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    first, second = (enhance(method, ramp(16, 17, 18)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.shape == (16, 17, 18)
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())


# -- out of memory -------------------------------------------------------------------------------------------------


class Greedy(Function):
    """A method that runs out of memory with more than `most` voxels."""

    def __init__(self, most, dims=3):
        super().__init__()
        self.most = most
        self.dims = dims

    def forward(self, source):
        if source.numel() > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB")
        return super().forward(source)


def test_windows_are_halved_where_memory_runs_out_and_the_log_says_so(caplog):
    method, source = Greedy(33**3), noise(72, 80, 70)
    result = enhance(method, source, window=128)
    np.testing.assert_allclose(result, source, rtol=1e-5, atol=1e-6)
    assert set(method.shapes) == {(32, 32, 32)}
    assert [record.getMessage() for record in caplog.records] == [
        "out of memory with windows of 128 voxels; going on with windows of 64 voxels",
        "out of memory with windows of 64 voxels; going on with windows of 32 voxels",
    ]
    assert {record.levelname for record in caplog.records} == {"WARNING"}


def test_a_whole_volume_that_does_not_fit_after_all_is_predicted_in_windows(caplog):
    method, source = Greedy(40**3), noise(64, 64, 64)
    np.testing.assert_allclose(enhance(method, source), source, rtol=1e-5, atol=1e-6)
    assert "windows of 64 voxels; going on with windows of 32 voxels" in caplog.text


def test_fewer_slices_are_shown_at_once_where_memory_runs_out(caplog):
    method, source = Greedy(2 * 16 * 16, dims=2), noise(16, 16, 9)
    np.testing.assert_array_equal(enhance(method, source), source)
    assert {len(seen) for seen in method.seen} == {1, 2}
    assert "stacks of 4 slices; going on with stacks of 2 slices" in caplog.text


def test_too_little_memory_for_the_smallest_window_is_one_line():
    with pytest.raises(UpfieldError, match=r"out of memory with windows of 32 voxels.*CPU$"):
        enhance(Greedy(10), noise(40, 40, 40), window=40)
