"""Nyúl's method where patches are read: fitted on training stores alone, one scale for each side."""

import numpy as np
import pytest
from upfield.patches import Store, standardised, write_store

DECILES = np.linspace(0, 1, 11)


@pytest.fixture
def stores(tmp_path):
    """Three people whose histograms bend differently; values 0 to 1."""
    paths = {}
    for name, power in (("sub-1", 1.0), ("sub-2", 2.0), ("sub-3", 0.5)):
        image = np.random.default_rng(0).uniform(0, 1, (8, 8, 8)).astype(np.float32)
        paths[name] = tmp_path / f"{name}.safetensors"
        marks = {"source": (DECILES**power).tolist(), "target": DECILES.tolist()}
        write_store(paths[name], image**power, image, np.ones(image.shape, bool), 1.0, landmarks=marks)
    return {name: Store(path) for name, path in paths.items()}


def test_scale_is_the_mean_of_the_training_people_only(stores):
    scales = standardised([stores["sub-1"], stores["sub-2"]], [stores["sub-3"]])
    np.testing.assert_allclose(scales["source"], (DECILES + DECILES**2) / 2, atol=1e-9)
    np.testing.assert_allclose(scales["target"], DECILES, atol=1e-9)


def test_everybody_is_read_on_the_scale(stores):
    before = {name: store.whole() for name, store in stores.items()}
    standardised([stores["sub-1"]], [stores["sub-2"], stores["sub-3"]])
    reference = before["sub-1"]["source"].numpy()
    for name, store in stores.items():
        whole = store.whole()
        # Their bends are undone, up to the straight pieces between deciles.
        np.testing.assert_allclose(whole["source"].numpy(), reference, atol=0.12)
        np.testing.assert_allclose(whole["target"].numpy(), before[name]["target"].numpy(), atol=1e-3)
        assert (whole["mask"] == 1).all()
    bent = np.abs(before["sub-3"]["source"].numpy() - reference).mean()
    assert np.abs(stores["sub-3"].whole()["source"].numpy() - reference).mean() < 0.2 * bent


def test_other_methods_have_no_scale(tmp_path):
    image = np.random.default_rng(0).uniform(0, 1, (8, 8, 8)).astype(np.float32)
    write_store(tmp_path / "sub-1.safetensors", image, image.copy(), np.ones(image.shape, bool), 1.0)
    store = Store(tmp_path / "sub-1.safetensors")
    assert standardised([store], []) == {}
    assert np.array_equal(store.whole()["source"][0].numpy(), image)
