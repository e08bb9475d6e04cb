"""The audit: what was added and what was removed is found, where it is, and noise is not."""

import numpy as np
import pytest
from scipy import ndimage
from upfield.bids import sidecar
from upfield.evaluate import audit
from upfield.evaluate.case import Case
from upfield.files import write_json
from upfield.image import nifti
from upfield.image.nifti import Volume

AFFINE = np.diag([1.5, 1.5, 2.0, 1.0])
SHAPE = (50, 52, 44)
SPOT, GAP = (25, 26, 22), (14, 26, 22)


def ball(centre, radius):
    indices = np.indices(SHAPE).reshape(3, -1) * np.array([[1.5], [1.5], [2.0]])
    place = np.array(centre) * [1.5, 1.5, 2.0]
    return (np.linalg.norm(indices - place[:, None], axis=0) <= radius).reshape(SHAPE)


@pytest.fixture
def study(tmp_path):
    """Files of a head, with a real structure in input and target, and a function that writes an output."""
    random = np.random.default_rng(0)
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    mask = sum(a**2 for a in axes) < 0.8
    head = 200 + 60 * ndimage.gaussian_filter(random.normal(size=SHAPE), 4) * 30
    head[ball(GAP, 4)] += 80
    paths = {}

    def write(name, data):
        paths[name] = str(tmp_path / f"{name}.nii.gz")
        nifti.save(Volume(np.asarray(data, np.float32), AFFINE), paths[name])
        write_json(sidecar(paths[name]), {})
        return paths[name]

    write("reference", np.where(mask, head, 0))
    write("mask", mask)
    write("identity", head + 2 * random.normal(size=SHAPE))

    def run(output, std=None):
        case = Case(
            participant="sub-01", fold="0", seeds={"net": [7]}, reference=paths["reference"], mask=paths["mask"],
            outputs={"identity": paths["identity"], "net": write("net", output)},
            uncertainties={} if std is None else {"net": write("std", std)}, judged_by=[paths["reference"]],
        )  # fmt: skip
        summary, found = audit.audited(case, str(tmp_path / "maps"))
        return summary.set_index("method"), found[found.method == "net"]

    return head, mask, random, run, tmp_path


def test_an_added_and_a_removed_structure_are_found_where_they_are(study):
    head, mask, random, run, folder = study
    output = head + 2 * random.normal(size=SHAPE)
    output[ball(SPOT, 5)] += 60
    output[ball(GAP, 4)] -= 80
    summary, found = run(output)
    assert found.kind.to_list() == ["added", "removed"] and found.seed.to_list() == ["7", "7"]
    assert (summary.added["net"], summary.removed["net"], summary.changed["net"]) == (1, 1, 0)
    assert (summary.loc["identity", ["added", "removed", "changed"]] == 0).all()
    added = found.iloc[0]
    assert [added.x_mm, added.y_mm, added.z_mm] == pytest.approx([25 * 1.5, 26 * 1.5, 44], abs=0.3)
    assert added.volume_ml == pytest.approx(ball(SPOT, 5).sum() * 4.5 / 1000, rel=0.05)
    assert added.contrast_output > 0.1 and abs(added.contrast_truth) < 0.05 > abs(added.contrast_input)
    z = nifti.load(folder / "maps" / "net.nii.gz").data
    assert added.peak_z == pytest.approx(z.max(), rel=1e-5) and (z[~mask] == 0).all()
    assert summary.standardised_by["net"] == "spread"


def test_noise_alone_adds_nothing(study):
    head, _, random, run, _ = study
    summary, found = run(head + 15 * random.normal(size=SHAPE))
    assert found.empty and summary.share_beyond["net"] < 1e-3


def test_a_bias_that_no_image_shows_as_a_structure_is_changed_not_added(study):
    head, _, random, run, _ = study
    half = np.zeros(SHAPE)
    half[:8] = 60
    _, found = run(head + half + 2 * random.normal(size=SHAPE))
    assert set(found.kind) <= {"changed", "added"} and len(found) >= 1


def test_a_standard_deviation_that_knows_of_the_error_takes_it_away(study):
    head, _, random, run, _ = study
    output = head + 2 * random.normal(size=SHAPE)
    output[ball(SPOT, 5)] += 60
    unsure = np.full(SHAPE, 2.0)
    unsure[ball(SPOT, 6)] = 40
    summary, found = run(output, unsure)
    assert found.empty and summary.standardised_by["net"] == "uncertainty"
    # One near zero is not believed: noise does not become structures.
    summary, found = run(head + 2 * random.normal(size=SHAPE), 1e-6 + np.arange(SHAPE[2]) * 1e-9 + np.zeros(SHAPE))
    assert summary.added["net"] == 0


def test_kinds_by_hand():
    assert audit.kind(output=0.2, reference=0.0, source=0.01) == "added"
    assert audit.kind(output=-0.2, reference=0.05, source=0.0) == "added"
    assert audit.kind(output=0.02, reference=0.2, source=0.15) == "removed"
    # The input did not show it either: nothing that the method could have kept.
    assert audit.kind(output=0.02, reference=0.2, source=0.02) == "changed"
    assert audit.kind(output=0.3, reference=0.2, source=0.15) == "changed"
    assert audit.kind(output=0.03, reference=0.0, source=0.0) == "changed"


def test_residuals_are_standardized_by_their_spread_or_the_standard_deviation():
    residual, brain = np.zeros((4, 4, 4)), np.ones((4, 4, 4), bool)
    residual[:2] = 2.0
    brain[3] = False
    z = audit.standardized(residual, brain, None)
    assert (z[3] == 0).all() and np.isfinite(z).all()
    z = audit.standardized(residual, brain, np.full((4, 4, 4), 0.5))
    assert z[0, 0, 0] == pytest.approx(4) or z[0, 0, 0] > 0


def test_an_excluded_pair_has_no_rows_but_a_folder(tmp_path):
    write_json(tmp_path / "bad.json", {"Excluded": "no brain"})
    case = Case("sub-01", mask="", outputs={}, judged_by=[str(tmp_path / "bad.nii.gz")])
    summary, found = audit.audited(case, str(tmp_path / "maps"))
    assert list(summary.columns) == audit.AUDIT and found.empty and (tmp_path / "maps").is_dir()
