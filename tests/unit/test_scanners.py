"""From features of scans to the table of cohorts: who teaches ComBat, who is judged, who is one person."""

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from upfield.bids import sidecar
from upfield.errors import ScanError
from upfield.evaluate import harmonization, harmonized
from upfield.evaluate.case import Case
from upfield.evaluate.harmonization import cohort
from upfield.files import read_tsv, write_json, write_tsv
from upfield.image import nifti
from upfield.image.nifti import Volume
from upfield.predict.harmonize import harmonize
from upfield.predict.native import carried_back, cohort_scaling
from upfield.preprocess.derivatives import save_image
from upfield.preprocess.grid import working_grid
from upfield.preprocess.standardize import standardize

from tests.unit.test_harmonization import head

ANATOMY = np.diag([2.0, 2.0, 2.0, 1.0])


@pytest.fixture(autouse=True)
def few_permutations(monkeypatch):
    """No p-value is looked at here."""
    monkeypatch.setattr(cohort, "PERMUTATIONS", 9)


def features(person, scanner, method="identity"):
    """A scan's features: those of the target are brighter by 3 standard deviations."""
    random = np.random.default_rng(sum(map(ord, person + method)))
    shift = 3.0 if scanner == "target" else 0.0
    rows = [("brain", f"percentile_{n:02d}.5", n / 100 + 0.01 * random.normal()) for n in range(100)]
    rows += [(str(block), f"f{n}", shift + random.normal()) for block in range(1, 7) for n in range(5)]
    table = pd.DataFrame(rows, columns=["block", "feature", "value"])
    return table.assign(participant_id=person, scanner=scanner, method=method)[harmonization.COLUMNS]


@pytest.fixture
def study():
    """Eight people of each scanner in two folds, the features of their scans, and the split."""
    people = {side: [f"sub-{side}{n}" for n in range(8)] for side in ("source", "target")}
    values = pd.concat([features(person, side) for side, names in people.items() for person in names])
    rows = [
        (person, str(fold), "test" if number % 2 == fold else "train" if number < 6 else "val")
        for names in people.values()
        for number, person in enumerate(names)
        for fold in (0, 1)
    ]
    return values, pd.DataFrame(rows, columns=["participant_id", "fold", "split"])


def test_scanners_are_told_apart_before_and_less_after_combat(study):
    values, splits = study
    table, cohorts = harmonized.compared(values, splits, {}, 1)
    auc = cohorts[cohorts["metric"] == "scanner_auc"].set_index("method")
    assert auc.loc["identity", "value"] > 0.9 and auc.loc["combat", "value"] < 0.8
    assert (auc[["n_source", "n_target"]] == 8).all(axis=None), "out of fold, everybody is judged"
    assert set(table["method"]) == {"identity", "combat"}


def test_combat_never_sees_whom_it_changes(study):
    values, splits = study
    alone = splits[splits["fold"] == "0"]
    strange = values.copy()
    tested = set(alone[alone["split"] == "test"]["participant_id"])
    strange.loc[strange["participant_id"].isin(tested - {"sub-source0"}), "value"] += 100
    found = [harmonized.compared(table, alone, {}, 1)[0] for table in (values, strange)]
    one, other = (t[(t["method"] == "combat") & (t["participant_id"] == "sub-source0")]["value"] for t in found)
    assert np.array_equal(one, other) and len(one)
    assert set(found[0]["participant_id"]) == tested, "nobody who taught is judged"


def test_too_few_to_teach_combat_leave_it_out(study, caplog):
    values, splits = study
    few = splits[(splits["fold"] == "0") & ((splits["split"] == "test") | splits["participant_id"].str.endswith("1"))]
    table, cohorts = harmonized.compared(values, few, {}, 1)
    assert set(cohorts["method"]) == set(table["method"]) == {"identity"}
    assert "two of each" in caplog.text


def test_somebody_seen_by_both_scanners_is_one_person(study):
    values, splits = study
    table, _ = harmonized.compared(values, splits, {"sub-target3": "sub-source3"}, 1)
    assert "sub-target3" not in set(table["participant_id"])
    assert set(table[table["participant_id"] == "sub-source3"]["scanner"]) == {"source", "target"}


def test_the_step_gathers_the_scans_and_writes_both_tables(study, tmp_path):
    values, splits = study
    parts = []
    for name, rows in values.groupby("participant_id"):
        parts.append(str(tmp_path / f"{name}.tsv"))
        write_tsv(parts[-1], rows)
    write_tsv(tmp_path / "splits.tsv", splits)
    # Of an excluded scan.
    parts.append(str(tmp_path / "excluded.tsv"))
    write_tsv(parts[-1], values[:0])
    tables = [str(tmp_path / name) for name in ("appearance.tsv", "harmonisation.tsv")]
    harmonized.scanners(parts, str(tmp_path / "splits.tsv"), *tables, same_person={}, seed=1)
    assert set(read_tsv(tables[0])["method"]) == {"identity", "combat"}
    auc = read_tsv(tables[1]).query("metric == 'scanner_auc' and method == 'identity'")
    assert auc["value"].item() > 0.9


# Files


def case(images, outputs, participant="sub-1"):
    """A scan, preprocessed image and native mask, and its outputs by method."""
    source, mask = images
    return Case(participant, mask, outputs, fold="0", source=source, judged_by=[source], suffix="T1w")


@pytest.fixture
def scan(tmp_path, blob):
    """A bias-corrected scan, its mask and its preprocessed image."""
    volume = blob("oblique", sigma=14.0)
    paths = {name: str(tmp_path / f"sub-source1_{name}.nii.gz") for name in ("T1w", "mask", "preproc")}
    save_image(volume.with_data(50 + volume.data), paths["T1w"], {})
    save_image(volume.with_data(volume.data > 30), paths["mask"], {}, np.uint8)
    settings = {"spacing": 2.0, "normalize": {"method": "percentile"}}
    standardize(paths["T1w"], paths["mask"], paths["mask"], paths["preproc"], settings)
    return paths


def test_a_scan_that_nobody_changed_comes_back_as_it_went(scan, tmp_path):
    targets = []
    for number, (offset, scale) in enumerate(((10, 400), (20, 500), (90, 510))):
        targets.append(str(tmp_path / f"{number}.json"))
        write_json(targets[-1], {"IntensityOffset": offset, "IntensityScale": scale})
    write_json(tmp_path / "bad.json", {"Excluded": "no brain"})
    output = str(tmp_path / "out.nii.gz")
    targets.append(str(tmp_path / "bad.json"))
    harmonize(scan["T1w"], scan["mask"], scan["preproc"], [], targets, output, "identity", inference={})
    mask = nifti.load_mask(scan["mask"])
    inside = nifti.load(output).data[mask.data]
    assert np.percentile(inside, [0.5, 99.5]) == pytest.approx([20, 520], abs=1), "the median of the targets"
    back = harmonized.read_back(case((scan["preproc"], scan["mask"]), {"identity": output}), "identity")
    np.testing.assert_allclose(back, nifti.load(scan["preproc"]).data, atol=2e-4)


def test_a_scale_needs_a_usable_target(tmp_path):
    write_json(tmp_path / "bad.json", {"Excluded": "no brain"})
    with pytest.raises(ScanError, match="no usable target"):
        cohort_scaling([str(tmp_path / "bad.json")])


def test_an_excluded_scan_has_no_rows(scan):
    metadata = {"Excluded": "no brain was found"}
    write_json(sidecar(scan["preproc"]), metadata)
    excluded = case((scan["preproc"], scan["mask"]), {})
    assert not len(harmonized.measured(excluded, []))
    assert not len(harmonized.seen(excluded, "source"))


def saved(folder, name, data, mask):
    """A scan as preprocessing leaves it, 0 to 1, and its brain; and its output, of which nothing has to be undone."""
    images = []
    for what, values in ((f"{name}_preproc", data), (f"{name}_mask", mask)):
        images.append(str(folder / f"{what}.nii.gz"))
        save_image(Volume(values, np.eye(4)), images[-1], {"IntensityOffset": 0.0, "IntensityScale": 1.0})
    return images[0], images[1]


def test_a_perfect_harmonization_cannot_be_told_from_the_target(tmp_path):
    """People of the source, scanned by the target's scanner: nothing can be more like the target."""
    scanners = {"source": {"noise": 0.09, "curve": 1.0}, "target": {"noise": 0.05, "curve": 0.8}}
    tables = []
    for number in range(12):
        person, scanner = f"sub-{number:02d}", "source" if number < 6 else "target"
        seen = {side: head(seed=number, scan=side == "target", **how)[:2] for side, how in scanners.items()}
        images = saved(tmp_path, person, *seen[scanner])
        outputs = {"perfect": saved(tmp_path, f"{person}_out", *seen["target"])[0]} if scanner == "source" else {}
        seen_of = case(images, outputs, person)
        tables.append(harmonized.seen(seen_of, scanner))
        if outputs:
            rows = harmonized.measured(seen_of, []).set_index("metric")["value"]
            assert 0.7 < rows["tissue_dice"] < 1, "other noise moves some voxels across a boundary, no more"
    cohorts = harmonization.cohort_table(pd.concat(tables), 1)
    auc = cohorts[cohorts["metric"] == "scanner_auc"].set_index("method")["value"]
    assert auc["identity"] == 1
    assert auc["perfect"] < 0.75, "chance, as far as six people of each can say"


def test_an_image_without_tissues_costs_its_method_alone(tmp_path, caplog):
    image, mask, _ = head(seed=1, noise=0.05)
    images = saved(tmp_path, "sub-1", image, mask)
    outputs = {"flat": saved(tmp_path, "flat", np.where(mask, 0.5, 0), mask)[0]}
    table = harmonized.seen(case(images, outputs), "source")
    assert set(table["method"]) == {"identity"} and "sub-1 has no features of flat" in caplog.text


def test_a_change_is_seen_again_on_the_working_grid(awkward):
    """Whatever the native grid: anisotropic, oblique or flipped."""
    mask = awkward.with_data((awkward.data > 0.3 * awkward.data.max()).astype(np.uint8))
    grid = working_grid(mask, 4.0)
    inside = nifti.mask_on(mask, grid)
    random = np.random.default_rng(0)
    change = Volume(ndimage.gaussian_filter(random.normal(size=grid.shape), 0.7).astype(np.float32), grid.affine)
    change = change.with_data(np.where(inside, change.data / change.data.std(), 0))

    # The masks of the two grids do not end at the same place.
    core = ndimage.binary_erosion(inside, iterations=1)

    def missing(native):
        seen = nifti.resample(mask.with_data(native), grid, order=3).data
        return float(np.sqrt(np.mean((seen - change.data)[core] ** 2)))

    carried = carried_back(change, mask)
    once = np.where(mask.data, nifti.resample(change, mask.grid, order=3).data, 0)
    assert (carried[~mask.data.astype(bool)] == 0).all()
    assert missing(carried) < 0.4 * missing(once)


def test_an_output_on_another_grid_is_refused(scan, tmp_path, refused):
    path = str(tmp_path / "other.nii.gz")
    save_image(Volume(np.random.default_rng(1).random((8, 8, 8)), ANATOMY), path, {})
    with refused("other.nii.gz is not on the grid of", "mask.nii.gz", "rerun"):
        harmonized.read_back(case((scan["preproc"], scan["mask"]), {"other": path}), "other")
