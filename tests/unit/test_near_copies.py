"""A scan that was saved or processed again is known as the same; other people's scans are not."""

import numpy as np
import pytest
from scipy import ndimage
from upfield.image import likeness, nifti
from upfield.image.nifti import Volume

from tests.unit.test_copies import reasons

OBLIQUE = np.array([[2.0, 0.2, 0, -60], [-0.2, 2.0, 0.1, -70], [0, -0.1, 2.0, -50], [0, 0, 0, 1]])


def head(number, shape=(64, 68, 60)):
    """A ball of 56 mm with a texture of its own, in air with a little noise."""
    random = np.random.default_rng(number)
    texture = ndimage.gaussian_filter(random.normal(size=shape), 1.5)
    axes = np.meshgrid(*[np.arange(n) - n / 2 for n in shape], indexing="ij")
    inside = sum(a**2 for a in axes) < 28**2
    data = inside * (400 + 200 * np.tanh(texture / texture.std())) + random.uniform(0, 4, shape)
    return Volume(data.astype(np.float32), OBLIQUE)


def noisy(volume, share, seed=0):
    noise = np.random.default_rng(seed).normal(size=volume.data.shape)
    return volume.with_data((volume.data + share * np.percentile(volume.data, 99.5) * noise).astype(np.float32))


def copies(volume):
    """Versions of a volume by name: what people do to scans without changing what they show."""
    data, affine = volume.data, volume.affine
    bright = float(np.percentile(data, 99.5))
    finer = nifti.resample(volume, nifti.regrid(volume, 1.3))
    return {
        "int16": volume.with_data(np.rint(data / bright * 1000)),
        "gain and offset": volume.with_data(3.7 * data + 50),
        **{f"noise of {share:.0%}": noisy(volume, share) for share in (0.01, 0.03, 0.05)},
        "Rician noise": volume.with_data(np.hypot(noisy(volume, 0.03).data, noisy(volume, 0.03, 1).data - data)),
        "shift": volume.with_data(np.roll(data, 1, (0, 1, 2))),
        "plain header": Volume(data, plain(affine)),
        "turned axes": Volume(np.transpose(data, (2, 0, 1))[:, ::-1], turned(affine, data.shape)),
        "2.5 mm": nifti.resample(volume, nifti.regrid(volume, 2.5)),
        "1.3 mm and noise": noisy(finer, 0.03),
    }


def plain(affine):
    """The same axes without obliqueness and origin."""
    result, size = np.eye(4), np.linalg.norm(affine[:3, :3], axis=0)
    result[:3, :3] = np.rint(affine[:3, :3] / size) * size
    return result


def turned(affine, shape):
    """The affine of axes in the order 2, 0, 1, the second of them backwards."""
    result = affine[:, [2, 0, 1, 3]].copy()
    result[:3, 3] += result[:3, 1] * (shape[0] - 1)
    result[:3, 1] *= -1
    return result


def alike(first, *others):
    return likeness.likeness([likeness.detail(volume) for volume in (first, *others)])[0, 1:]


def test_copies_are_one_image_and_others_are_not():
    made = copies(head(1))
    found = dict(zip(made, alike(head(1), *made.values()), strict=True))
    assert {name: value for name, value in found.items() if value < likeness.COPY} == {}
    assert alike(head(1), *map(head, range(2, 8))).max() < 0.8


def test_what_has_no_detail_is_no_copy():
    flat = Volume(np.full((64, 64, 64), 7.0, np.float32), OBLIQUE)
    assert likeness.detail(flat) == "" and likeness.detail(head(1, (64, 10, 12))) == ""
    assert likeness.detail(head(1, (64, 68, 40))) and likeness.likeness([]).shape == (0, 0)
    # An outline that many share, such as that of a mask, is none either.
    ball = head(1).data > 100
    assert likeness.detail(Volume(ball.astype(np.float32), OBLIQUE)) == ""


def test_the_places_stay_where_they_are():
    assert likeness.places().shape == (likeness.POINTS, 3)
    assert np.linalg.norm(likeness.places(), axis=1).max() < likeness.RADIUS
    # What is remembered of scans was looked at here.
    np.testing.assert_allclose(likeness.places()[0], [48.310471, -47.463767, 8.084237], atol=1e-5)


@pytest.mark.real
def test_in_real_scans_people_and_copies_lie_far_apart(real_data):
    paths = [
        *real_data.glob("ds000011/sub-*/anat/*_T1w.nii.gz"),
        *real_data.glob("ds002748/sub-5[23]/anat/*_T1w.nii.gz"),
    ]
    scans = [nifti.load(path) for path in sorted(paths)[:6]]
    details = [likeness.detail(scan) for scan in scans]
    assert np.tril(likeness.likeness(details), -1).max() < 0.6
    made = copies(scans[0])
    found = dict(zip(made, alike(scans[0], *made.values()), strict=True))
    assert {name: value for name, value in found.items() if value < likeness.COPY} == {}


@pytest.fixture
def dataset(bids_tree):
    """Make a dataset of two sessions of six people."""

    def make(name="mine", first=0):
        names = [(n, s) for n in range(1, 7) for s in (1, 2)]
        scans = {image(n, s): head(first + 10 * n + s) for n, s in names}
        return bids_tree(scans, name)

    return make


def image(person, session):
    return f"sub-{person}/ses-{session}/anat/sub-{person}_ses-{session}_T1w.nii.gz"


def test_a_near_copy_is_excluded_and_names_the_other(dataset, session_study):
    root = dataset()
    original = nifti.load(root / image(2, 2))
    nifti.save(copies(original)["1.3 mm and noise"], root / image(5, 2))
    # The same person's other session is no leak.
    nifti.save(noisy(nifti.load(root / image(3, 1)), 0.02), root / image(3, 2))
    made = session_study(root, root)
    found = {key: reason for key, reason in reasons(made).items() if "nearly" in reason}
    assert list(found) == [("sub-5", "target")]
    assert "nearly the same image as sub-2_ses-2_T1w.nii.gz of sub-2 (target)" in found["sub-5", "target"]
    assert sorted(made.pairs) == ["sub-1", "sub-2", "sub-3", "sub-4", "sub-6"]
    # What was read is remembered, with the same result.
    assert reasons(session_study(root, root)) == reasons(made)
    assert "sub-5" in session_study(root, root, participants={"near_copies": "keep"}).pairs
    assert "sub-5" in session_study(root, root, participants={"exclude": ["sub-2"]}).pairs


def test_near_copies_in_two_datasets_and_people_who_travel(dataset, session_study, tmp_path):
    one, other = dataset("a"), dataset("b", 1000)
    nifti.save(noisy(nifti.load(one / image(1, 1)), 0.03), other / image(4, 2))
    unpaired = {"pairing": "unpaired", "methods": ["cyclegan"]}
    made = session_study(one, other, **unpaired)
    found = [row for row in made.index.excluded if "nearly" in row.reason]
    assert [row.role for row in found] == ["target"] and "of sub-1 (source)" in found[0].reason
    table = tmp_path / "pairs.tsv"
    table.write_text("source\ttarget\nsub-1\tsub-4\n")
    made = session_study(one, other, **unpaired, pairs=str(table))
    assert not [row for row in made.index.excluded if "nearly" in row.reason]
