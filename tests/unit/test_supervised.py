"""Methods of one network: what counts in their loss, how their rate goes, and what a network may be."""

import pytest
import torch
from upfield import methods
from upfield.catalogue.methods import facts
from upfield.errors import UpfieldError
from upfield.methods import losses, schedules
from upfield.methods.augmentation import ACQUISITION, Augmentation
from upfield.training.optimisers import Optimisers

pytestmark = pytest.mark.usefixtures("one_thread")


def made(name, **values):
    known = facts(name)
    return methods.build({"module": known.document["module"], **known.resolved("default", values)})


def small(**values):
    return made("upfield", base=2, levels=1, **values)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    source, target = torch.rand((2, 2, 1, 16, 16, 16), generator=generator)
    mask = torch.zeros_like(source)
    mask[..., 4:12, 4:12, 4:12] = 1
    return {"source": source, "target": target, "mask": mask}


def test_mean_of_what_is_counted():
    values, counted = torch.tensor([[[1.0, 3.0, 8.0]]]), torch.tensor([[[1.0, 0.5, 0.0]]])
    assert losses.mean(values, counted) == pytest.approx((1 + 0.5 * 3) / 1.5)
    assert losses.mean(values) == 4
    assert losses.mean(values, torch.zeros(1, 1, 3)) == 0, "a patch without brain is no error"


def test_gradients_are_counted_where_both_neighbours_are():
    # Along the one axis the steps are 2 and 1 in the output, 0 in the target: squares 4 and 1.
    output, target = torch.tensor([[[0.0, 2.0, 3.0]]]), torch.zeros(1, 1, 3)
    assert losses.gradient_difference(output, target) == pytest.approx(5 / 3)
    counted = torch.tensor([[[1.0, 1.0, 0.25]]])
    assert losses.gradient_difference(output, target, counted) == pytest.approx((4 + 0.25) / 2.25)


@pytest.mark.parametrize("term", ["l1", "mse", "gradient", "ssim"])
def test_what_is_not_counted_is_not_in_the_loss(batch, term):
    content = losses.Content({term: 1.0})
    counted = batch["mask"]
    elsewhere = batch["target"].clone()
    # A window of SSIM around a voxel of the brain reaches five voxels out of it.
    elsewhere[..., :, :, :1] += 100 if term != "ssim" else 0
    before, after = (content.terms(batch["source"], target, counted)[term] for target in (batch["target"], elsewhere))
    assert before == pytest.approx(float(after)) and before > 0
    assert content.terms(batch["source"], batch["source"], counted)[term] == pytest.approx(0, abs=1e-5)


def test_ssim_counts_the_brain_alone():
    """One structure in the brain, none of it outside: the mean over all is between the two."""
    target = torch.rand((1, 1, 40, 16, 16), generator=torch.Generator().manual_seed(1))
    output = target.clone()
    output[:, :, 20:] = 0.5
    left, right = torch.zeros(2, *target.shape)
    left[:, :, :12], right[:, :, 28:] = 1, 1
    alike, other, both = (losses.structural_dissimilarity(output, target, 1.0, mask) for mask in (left, right, None))
    assert alike == pytest.approx(0, abs=1e-5) and alike < both < other


def test_ssim_of_a_slab_of_a_few_slices():
    slab = torch.rand((1, 1, 16, 16, 4), generator=torch.Generator().manual_seed(2))
    assert losses.structural_dissimilarity(slab, slab) == pytest.approx(0, abs=1e-5)
    assert losses.structural_dissimilarity(slab, 1 - slab, counted=torch.ones_like(slab)) > 0.5


def test_schedules_that_fall_to_zero():
    cosine, polynomial = schedules.make("cosine"), schedules.make("polynomial", power=2.0)
    assert [cosine(epoch, 10.0) for epoch in (0, 5, 10)] == pytest.approx([1, 0.5, 0])
    assert [polynomial(epoch, 10.0) for epoch in (0, 5, 10)] == pytest.approx([1, 0.25, 0])
    warm = schedules.make("cosine", warmup=0.1)
    assert [warm(epoch, 10.0) for epoch in (0.0, 0.5)] == pytest.approx([0, 0.5 * cosine(0.5, 10.0)])
    assert warm(5, 10.0) == cosine(5, 10.0)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_weights_decay_where_the_gradient_is_zero(decay):
    method = small(lr=0.5, decay=decay, schedule={"kind": "constant", "warmup": 0.0})
    steps = Optimisers(method, torch.amp.GradScaler("cpu", enabled=False), {}, 1)
    steps.set_rates(1.0, 2.0)
    weight = next(method.parameters())
    before = weight.detach().clone()
    steps.update(generator=0 * sum(parameter.sum() for parameter in method.parameters()))
    torch.testing.assert_close(weight.detach(), before * (1 - 0.5 * decay))


def test_it_starts_as_the_identity_and_learns(batch):
    torch.manual_seed(0)
    method = small(lr=3e-3, content={"l1": 1.0, "ssim": 0.0, "gradient": 0.0})
    torch.testing.assert_close(method(batch["source"]), batch["source"])
    optimiser = torch.optim.Adam(method.parameters(), 1e-2)
    found = []
    for _ in range(20):
        found.append(method.training_step(batch, lambda generator: generator.backward())["l1"])
        optimiser.step()
        optimiser.zero_grad()
    assert found[-1] < 0.8 * found[0]


@pytest.mark.parametrize("name", ACQUISITION)
def test_what_acquisition_does_is_done_to_the_source_alone_and_repeats_itself(batch, name):
    change = Augmentation(**{name: 1.0})
    once, again, other = (change(batch, (1, seed)) for seed in (2, 2, 3))
    assert torch.equal(once["source"], again["source"]) and type(once["source"]) is torch.Tensor
    assert not torch.equal(once["source"], batch["source"]) and not torch.equal(once["source"], other["source"])
    assert torch.equal(once["target"], batch["target"]) and torch.equal(once["mask"], batch["mask"])
    assert torch.isfinite(once["source"]).all()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"network": "SwinUNETRR"}, "network is 'SwinUNETRR'; expected a class of monai.networks.nets"),
        ({"network": "torch.nn"}, "network is 'torch.nn'"),
        ({"depth": 3}, "settings have depth; DynUNet takes spatial_dims"),
        ({"strides": [1]}, "DynUNet refuses its arguments"),
    ],
)
def test_a_network_that_there_is_not_is_one_line(values, words):
    settings = facts("dynunet").resolved("default", values)
    with pytest.raises(UpfieldError) as caught:
        methods.build({"module": "upfield.methods.monai_network", **settings})
    assert words in str(caught.value) and "\n" not in str(caught.value)
