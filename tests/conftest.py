"""Fixtures that the unit tests share: tiny BIDS trees, volumes in every orientation, a phantom, the real scans."""

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

# Read at import: test processes side by side would otherwise each take every core for a sum.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import numpy as np
import pytest
from upfield import phantom
from upfield.catalogue.methods import ROOT
from upfield.errors import UpfieldError
from upfield.files import merged, read_yaml
from upfield.image import nifti
from upfield.image.nifti import Array, Volume
from upfield.phantom import anatomy
from upfield.study.study import Study

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

# The same examples in every run, and no folder of examples left in the checkout.
hypothesis.settings.register_profile("upfield", derandomize=True, deadline=None, database=None, max_examples=50)
hypothesis.settings.load_profile("upfield")


def _affine(columns: Array, degrees: tuple[float, float, float] = (0, 0, 0)) -> Array:
    affine = np.eye(4)
    affine[:3, :3] = anatomy.rotation(np.array(degrees)) @ columns
    affine[:3, 3] = -41.5, 17.25, 63.0
    return affine


# How scanners store heads: voxel axes (columns, mm) and shapes; every field of view is 90 mm or a little more.
VOLUMES = {
    "plain": (_affine(np.diag([2.0, 2, 2])), (46, 45, 47)),
    "anisotropic": (_affine(np.diag([1.0, 1.33, 3])), (92, 70, 31)),
    "flipped": (_affine(np.diag([-1.5, -2, 2])), (62, 46, 45)),
    "left-handed": (_affine(np.diag([-2.0, 2, 3])), (46, 47, 30)),
    "sagittal": (_affine(np.array([[0, 0, 3.0], [-2, 0, 0], [0, -1.5, 0]])), (45, 61, 31)),
    "oblique": (_affine(np.diag([2.0, 1.5, 3]), (20, -15, 10)), (46, 62, 31)),
    "oblique left-handed": (
        _affine(np.array([[0, -2, 0], [1.5, 0, 0], [0, 0, 2.5]]) * [1, 1, -1], (-12, 25, 8)),
        (61, 46, 36),
    ),
}


def _blob(name: str = "plain", sigma: float = 8.0, offset: tuple[float, float, float] = (4, -3, 2)) -> Volume:
    affine, shape = VOLUMES[name]
    indices = np.stack([*np.indices(shape), np.ones(shape)])
    world = np.tensordot(affine, indices, axes=1)[:3]
    middle = (affine @ np.append((np.array(shape) - 1) / 2, 1.0))[:3] + offset
    squared = ((world - middle[:, None, None, None]) ** 2).sum(axis=0)
    return Volume((100 * np.exp(-squared / (2 * sigma**2))).astype(np.float32), affine)


def _centroid(volume: Volume) -> Array:
    weights = np.clip(volume.data.astype(float), 0, None)
    where = [(weights * index).sum() / weights.sum() for index in np.indices(weights.shape)]
    return (volume.affine @ np.array([*where, 1.0]))[:3]


@pytest.fixture(scope="session")
def blob() -> Callable[..., Volume]:
    """Make a Gaussian of `sigma` mm, `offset` mm from the middle of the volume called `name` in VOLUMES."""
    return _blob


@pytest.fixture(params=list(VOLUMES))
def awkward(request: pytest.FixtureRequest) -> Volume:
    """A Gaussian on each kind of grid in turn."""
    return _blob(request.param)


@pytest.fixture(scope="session")
def centroid() -> Callable[[Volume], Array]:
    """The intensity-weighted centre of a volume in world mm."""
    return _centroid


@pytest.fixture(scope="session")
def head() -> phantom.Subject:
    """One simulated participant at 2 mm."""
    return phantom.simulate(0, phantom.Phantom(subjects=1, spacing=2.0))


@pytest.fixture
def bids_tree(tmp_path: Path) -> Callable[..., Path]:
    """Write a BIDS dataset of a few bytes and return its folder.

    `content` maps a path to what stands there: None a small image, a Volume, a mapping (JSON), text or bytes.
    """

    def build(content: Mapping[str, Any], name: str = "study") -> Path:
        root = tmp_path / name
        described = {"dataset_description.json": {"Name": name, "BIDSVersion": "1.10.0"}, **content}
        for number, (path, what) in enumerate(described.items()):
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if what is None:
                data = np.random.default_rng(number).uniform(1, 100, (6, 7, 8)).astype(np.float32)
                nifti.save(Volume(data, VOLUMES["oblique"][0]), target)
            elif isinstance(what, Volume):
                nifti.save(what, target)
            elif isinstance(what, bytes):
                target.write_bytes(what)
            else:
                target.write_text(what if isinstance(what, str) else json.dumps(what), encoding="utf-8")
        return root

    return build


@pytest.fixture
def refused() -> Callable[..., AbstractContextManager[None]]:
    """`with refused("word", ...)`: the block raises UpfieldError (or `kind`) with one line that holds every word."""

    @contextmanager
    def check(*words: str, kind: type[UpfieldError] = UpfieldError) -> Iterator[None]:
        with pytest.raises(kind) as caught:
            yield
        message = str(caught.value)
        assert message and "\n" not in "".join(map(str, caught.value.args))
        assert len(message) <= 300
        assert [word for word in words if word not in message] == [], message

    return check


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real scans; skips where there is none."""
    folder = Path(os.environ.get("UPFIELD_TEST_DATA", REAL_DATA))
    if not (folder / "ds000011").is_dir():
        pytest.skip(f"no real scans in {folder} (set UPFIELD_TEST_DATA)")
    return folder


@pytest.fixture
def session_study(tmp_path: Path) -> Callable[..., Study]:
    """Plan a study of two datasets: session 1 of the first is the source, session 2 of the second the target."""

    def make(source: Path, target: Path, /, **changes: Any) -> Study:
        config = read_yaml(ROOT / "config" / "config.yaml")
        sides = {
            side: {"bids_dir": str(root), "entities": {"session": str(number)}}
            for number, (side, root) in enumerate((("source", source), ("target", target)), start=1)
        }
        return Study(merged(merged(config, sides | {"output_dir": str(tmp_path)}), changes))

    return make


@pytest.fixture
def two_sessions(
    bids_tree: Callable[..., Path], session_study: Callable[..., Study]
) -> Callable[..., Callable[..., Study]]:
    """Write two sessions of six people, by default under the usual name; what makes a study of them comes back.

    It takes changes of the default config.
    """

    def dataset(*name: str) -> Callable[..., Study]:
        content = {f"sub-{n}/ses-{s}/anat/sub-{n}_ses-{s}_T1w.nii.gz": None for n in range(1, 7) for s in (1, 2)}
        root = bids_tree(content, *name)

        def make(**changes: Any) -> Study:
            return session_study(root, root, **changes)

        return make

    return dataset


@pytest.fixture
def framed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What the frame of a job sets in its process is as it was afterwards."""
    from upfield import job

    for name in (*job.THREAD_VARIABLES, job.WAITING):
        monkeypatch.setenv(name, "7" if name != job.WAITING else "PASSIVE")
    monkeypatch.setattr(logging, "raiseExceptions", True)
    yield
    logging.captureWarnings(False)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Networks this small lose more by waiting for a second thread than they gain."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# What a small model has seen: T2w at 64 mT, to become T1w.
_DOMAIN = {
    "source": {
        "scans": 2,
        "suffix": ["T2w"],
        "field_strength": [0.064],
        "manufacturer": [],
        "voxel": {"low": [2, 2, 4], "high": [2, 2, 4]},
        "intensity": {"low": 200, "high": 300},
        "profile": {"low": [0.1, 0.3, 0.5, 0.7, 0.8], "high": [0.2, 0.4, 0.6, 0.8, 0.9]},
        "brain_volume": {"low": 100, "high": 120},
    },
    "target": {
        "scans": 2, "suffix": ["T1w"], "field_strength": [3], "voxel": [1.0, 2.0, 2.0], "offset": 50.0, "scale": 400.0,
    },
}  # fmt: skip


@pytest.fixture
def trained(tmp_path: Path) -> Callable[..., str]:
    """Write the folder of a small model, with changes of its card, and return it."""

    def write(
        method: str = "unet3d",
        name: str = "model",
        scale: tuple[int, int, int] = (1, 1, 1),
        over: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> str:
        from upfield import methods
        from upfield.methods import model
        from upfield.study import config

        over = over or {"base": 2, "levels": 1}
        settings = config.method_settings({"method_overrides": {method: over}}, method)
        network = methods.build(settings)
        card = {
            "method": method,
            "module": settings["module"],
            "preset": settings["preset"],
            "settings": {key: value for key, value in settings.items() if key not in ("module", "preset")},
            "scale": scale,
            "participants": {"train": ["sub-01", "sub-02"], "val": ["sub-03"]},
            "fold": "0",
            "seed": 42,
            "pairing": "paired",
            "simulate": None,
            "preprocess": {
                "spacing": "native",
                "n4": False,
                "brain": {"method": "none"},
                "registration": {"transform": "none", "seed": 42},
                "normalize": {"method": "percentile"},
            },
            "domain": _DOMAIN,
            "upfield": "0.1.0",
            "split_sha": "0123",
        }
        model.save(tmp_path / name, dict(network.state_dict()), {**card, **changes})
        return str(tmp_path / name)

    return write
