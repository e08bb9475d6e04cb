"""LPIPS with a small network of random weights, against a reference in plain NumPy."""

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file
from upfield.catalogue import weights
from upfield.errors import ScanError
from upfield.evaluate import perceptual
from upfield.evaluate.case import Case
from upfield.evaluate.metrics.lpips import lpips
from upfield.evaluate.metrics.registry import KNOWN
from upfield.evaluate.subject import COLUMNS
from upfield.files import merged, write_json
from upfield.image.nifti import Volume, save
from upfield.study import config, designs, requirements

pytestmark = pytest.mark.usefixtures("one_thread")

MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@pytest.fixture(scope="module")
def network():
    """Conv 0, ReLU 1, conv 2, ReLU 3, pool 4, conv 5, ReLU 6: two blocks, of 4 and 6 channels."""
    random = torch.Generator().manual_seed(0)
    sizes = {0: (4, 3), 2: (4, 4), 5: (6, 4)}
    tensors = {f"features.{n}.weight": torch.randn(*size, 3, 3, generator=random) for n, size in sizes.items()}
    tensors |= {f"features.{n}.bias": torch.randn(size[0], generator=random) for n, size in sizes.items()}
    return tensors | {f"lin{k}.model.1.weight": torch.rand(1, c, 1, 1, generator=random) for k, c in ((0, 4), (1, 6))}


@pytest.fixture(scope="module")
def path(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("lpips") / "lpips.safetensors"
    save_file(network, path)
    return str(path)


def scans(shape=(12, 10, 3)):
    """A truth whose robust range is 0 to 1 as nearly as makes no difference to a test, and an output."""
    random = np.random.default_rng(0)
    truth = random.uniform(size=shape)
    return truth + 0.3 * random.normal(size=shape), truth


def convolved(image, weight, bias):
    """Image (C, X, Y) by kernels (D, C, 3, 3), zeros around it."""
    padded = np.pad(image, [(0, 0), (1, 1), (1, 1)])
    out = np.zeros((len(weight), *image.shape[1:]))
    for dx in range(3):
        for dy in range(3):
            part = padded[:, dx : dx + image.shape[1], dy : dy + image.shape[2]]
            out += np.einsum("dc,cxy->dxy", weight[:, :, dx, dy], part)
    return np.maximum(out + bias[:, None, None], 0)


def halved(image):
    return image.reshape(len(image), image.shape[1] // 2, 2, image.shape[2] // 2, 2).max(axis=(2, 4))


def maps(network, image):
    """What each block contributes, before the mean over positions: features of unit length of a slice (X, Y)."""
    tensors = {name: tensor.double().numpy() for name, tensor in network.items()}
    conv = {n: (tensors[f"features.{n}.weight"], tensors[f"features.{n}.bias"]) for n in (0, 2, 5)}
    colours = (image[None] - MEAN[:, None, None]) / DEVIATION[:, None, None]
    first = convolved(convolved(colours, *conv[0]), *conv[2])
    found = [first, convolved(halved(first), *conv[5])]
    return [block / (np.sqrt((block**2).sum(axis=0)) + 1e-10) for block in found]


def by_hand(network, output, truth, mask):
    """The published definition, positions weighted by the brain in them: blocks of 2 voxels on the second level."""
    low, high = np.percentile(truth[mask], [0.5, 99.5])
    sums, shares = np.zeros(2), np.zeros(2)
    for z in range(truth.shape[2]):
        one, other = ((np.where(mask, (image - low) / (high - low), 0))[:, :, z] for image in (output, truth))
        inside = mask[:, :, z].astype(float)
        for k, (a, b) in enumerate(zip(maps(network, one), maps(network, other), strict=True)):
            head = network[f"lin{k}.model.1.weight"].double().numpy().ravel()
            share = inside if k == 0 else inside.reshape(len(inside) // 2, 2, -1, 2).mean(axis=(1, 3))
            sums[k] += (np.einsum("c,cxy->xy", head, (a - b) ** 2) * share).sum()
            shares[k] += share.sum()
    return float((sums / shares).sum())


def test_it_is_the_published_definition(network, path):
    output, truth = scans()
    whole = np.ones(truth.shape, bool)
    found = lpips({"gan": output, "same": truth, "noisier": truth + 2 * (output - truth)}, truth, whole, path)
    assert found["gan"] == pytest.approx(by_hand(network, output, truth, whole), rel=1e-5)
    assert found["same"] == 0 < found["gan"] < found["noisier"]
    assert weights.blocks([0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]) == [3, 8, 15, 22, 29]


def test_nothing_outside_the_brain_counts(network, path):
    output, truth = scans((16, 14, 5))
    mask = np.zeros(truth.shape, bool)
    mask[2:14, 3:13, 1:4] = True
    mask[2:4, 3:6] = False
    inside = (slice(2, 14), slice(3, 13), slice(1, 4))
    found = lpips({"gan": output}, truth, mask, path)["gan"]
    assert found == pytest.approx(by_hand(network, output[inside], truth[inside], mask[inside]), rel=1e-5)
    wild = np.where(mask, output, np.nan)
    assert lpips({"gan": wild}, np.where(mask, truth, 1e6), mask, path)["gan"] == found
    # Units of intensity make no difference.
    assert lpips({"gan": 5 * output - 3}, 5 * truth - 3, mask, path)["gan"] == pytest.approx(found, rel=1e-4)


def test_traps(path):
    output, truth = scans()
    whole = np.ones(truth.shape, bool)
    with pytest.raises(ScanError, match="empty"):
        lpips({"gan": output}, truth, ~whole, path)
    with pytest.raises(ScanError, match="constant"):
        lpips({"gan": output}, np.ones(truth.shape), whole, path)
    with pytest.raises(ScanError, match="output of gan has 1 NaN"):
        lpips({"gan": np.where(output == output.max(), np.nan, output)}, truth, whole, path)
    assert np.isfinite(lpips({"gan": np.full(truth.shape, 0.5)}, truth, whole, path)["gan"])
    sliver = np.zeros(truth.shape, bool)
    sliver[3] = True
    assert np.isnan(lpips({"gan": output}, truth, sliver, path)["gan"])


def test_it_is_explained_with_its_source():
    metric = KNOWN["lpips"]
    assert (metric.better, metric.ideal, metric.values) == ("lower", 0, "≥ 0")
    assert metric.source.split(", ")[1] in lpips.__doc__ and "0 for identical images" in lpips.__doc__


def test_rows_of_a_participant(path, tmp_path):
    output, truth = scans((20, 18, 6))
    files = {name: str(tmp_path / f"{name}.nii.gz") for name in ("truth", "mask", "gan", "identity")}
    images = {"truth": truth, "mask": np.ones(truth.shape), "gan": output, "identity": truth}
    for name, data in images.items():
        save(Volume(data.astype(np.float32), np.eye(4)), files[name])
    card = str(tmp_path / "card.json")
    write_json(card, {})
    case = Case(
        participant="sub-01", fold="0", seeds={"gan": [1, 2]}, reference=files["truth"], mask=files["mask"],
        outputs={name: files[name] for name in ("identity", "gan")}, judged_by=[card],
    )  # fmt: skip
    table = perceptual.measured(case, path, "cpu")
    assert table.columns.to_list() == COLUMNS and table.method.to_list() == ["identity", "gan"]
    assert set(table.metric) == {"lpips"} and set(table.region) == {"brain"} and table.seed.to_list() == ["n/a", "1+2"]
    assert table.value[0] == 0 < table.value[1]
    write_json(card, {"Excluded": "quality: another person"})
    assert perceptual.measured(case, path, "cpu").empty


# -- when a study is planned ---------------------------------------------------------------------------------------


def planned(path, **others):
    study = yaml.safe_load((config.ROOT / "config" / "config.yaml").read_text())
    requirements.check(merged(study, {"evaluate": {"lpips_weights": path}, **others}))


def test_a_study_with_weights_is_accepted(path):
    planned(path)


def without(name):
    return lambda tensors: {key: value for key, value in tensors.items() if key != name}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("lin1.model.1.weight"), ["of [4, 6] channels", "found [4]"]),
        (lambda t: t | {"lin1.model.1.weight": torch.ones(1, 5, 1, 1)}, ["found [4, 5]"]),
        (lambda t: t | {"lin1.model.1.weight": torch.ones(6)}, ["found [4, (6,)]"]),
        (lambda t: t | {"lin2.model.1.weight": torch.ones(1, 6, 1, 1)}, ["one for each block"]),
        (lambda t: {key: value for key, value in t.items() if "lin" not in key}, ["found none"]),
        (without("features.2.bias"), ["features.0.bias", "as in a VGG"]),
        (lambda t: {"net.slice1.0.weight": t["features.0.weight"]}, ["expected tensors features.0.weight"]),
    ],
)
def test_weights_that_do_not_fit_are_refused(network, change, words, refused, tmp_path):
    path = str(tmp_path / "lpips.safetensors")
    save_file(change(network), path)
    with refused("config: evaluate.lpips_weights", path, *words):
        planned(path)


@pytest.mark.parametrize(
    ("path", "words"),
    [("/nowhere/lpips.safetensors", ["cannot be read"]), ("/data/vgg.pth", ["expected .safetensors", "weights_only"])],
)
def test_files_that_cannot_be_read_are_named(path, words, refused):
    with refused("config: evaluate.lpips_weights", path, *words):
        planned(path)


def test_an_unpaired_study_has_nothing_to_compare_with(path, refused):
    study = yaml.safe_load((config.ROOT / "config" / "config.yaml").read_text())
    changes = {"pairing": "unpaired", "methods": ["cyclegan"], "preprocess": {"spacing": 1.0}}
    with refused("evaluate.lpips_weights", "unpaired"):
        designs.known()["unpaired"].check(merged(study, {"evaluate": {"lpips_weights": path}, **changes}))
    atlas = {"images": "{participant}_dseg.nii.gz", "names": "dseg.tsv"}
    with refused("evaluate.atlas", "unpaired"):
        designs.known()["unpaired"].check(merged(study, {"evaluate": {"atlas": atlas}, **changes}))
