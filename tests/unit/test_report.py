"""The report on a small synthetic study: what it says, and that it needs nothing but itself."""

import io
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import ndimage
from upfield.evaluate import calibration, statistics
from upfield.evaluate.metrics import HIGHER, LOWER
from upfield.files import read_tsv, write_json, write_tsv
from upfield.image.nifti import Volume, load, save
from upfield.report import costs, panels, subject, tables
from upfield.report.context import StudyContext
from upfield.report.page import build
from upfield.report.subject import SubjectImages
from upfield.study.designs.narrative import Narrative
from upfield.training import preview

CONFIG = {
    "study": "demo <b>&study</b>",
    "source": {"bids_dir": "data/low", "entities": {"session": "1", "suffix": "T1w"}, "metadata": {}},
    "target": {"bids_dir": "data/high", "entities": {"session": "2", "suffix": "T1w"}, "metadata": {}},
    "pairing": "paired",
    "preprocess": {"spacing": 1.0, "n4": True, "brain": {"method": "deepbet"}, "registration": {"transform": "rigid"}},
    "splits": {"scheme": "holdout", "fractions": {"train": 0.6, "val": 0.2, "test": 0.2}, "folds": 5, "stratify": []},
    "methods": ["unet3d_patchgan"],
    "report": {"subjects": 6},
}
PROVENANCE = {
    "upfield": "0.1.0",
    "git_commit": "1f2e3d4c",
    "created": "2026-01-02 03:04 UTC",
    "command": "snakemake --cores 2 <x>",
    "platform": "Linux, 2 cores",
    "versions": {"python": "3.11.9", "torch": "2.13.0"},
}
SECTIONS = [
    "result",
    "images",
    "leaderboard",
    "quality",
    "study",
    "cohort",
    "split",
    "training",
    "methods",
    "tables",
    "provenance",
]
LEVEL = {"identity": 22.0, "spline": 22.4, "unet3d": 25.0, "unet3d_patchgan": 26.0, "lohiresgan": 23.5}


class Page(HTMLParser):
    """Every start tag with its attributes, and the visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html, self.tags, self.words, self.hidden = html, [], [], False
        self.feed(html)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.hidden = tag in ("style", "script")

    def handle_endtag(self, tag):
        self.hidden = False

    def handle_data(self, data):
        if not self.hidden:
            self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def make_images(folder, name, methods, shape=(20, 24, 18), spacing=(4.0, 4.0, 5.0)):
    """A head-like ellipsoid, stored left-posterior-superior, so that showing it takes a reorientation."""
    random = np.random.default_rng(int(name[-2:]))
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    radius = np.sqrt(sum((a / r) ** 2 for a, r in zip(axes, (0.74, 0.84, 0.78), strict=True)))
    mask = radius < 1
    texture = ndimage.gaussian_filter(random.normal(size=shape), [6 / s for s in spacing])
    target = mask * np.clip(520 + 900 * np.tanh(2 * texture / texture.std()) * 0.25 + 250 * (radius < 0.8), 0, None)
    target += 20 * np.abs(random.normal(size=shape))
    source = ndimage.gaussian_filter(target, [5 / s for s in spacing]) * 0.9 + 25 * np.abs(random.normal(size=shape))
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    affine[:3, 3] = np.array(shape) * spacing / 2 * [1, 1, -1]
    outputs = {}
    for rank, method in enumerate(methods):
        weight = 0 if method == "identity" else 0.3 + 0.6 * rank / len(methods)
        image = source * (1 - weight) + weight * ndimage.gaussian_filter(target, [2 / s for s in spacing])
        outputs[method] = folder / f"{name}_{method}.nii.gz"
        save(Volume(image.astype(np.float32), affine), outputs[method])
    paths = [folder / f"{name}_{kind}.nii.gz" for kind in ("source", "target", "mask")]
    for path, data in zip(paths, (source, target, mask), strict=True):
        save(Volume(data.astype(np.float32), affine), path)
    return SubjectImages(name, paths[0], paths[1], paths[2], outputs)


def make_metrics(root, methods, people, level):
    rows, board = [], []
    for m, method in enumerate(methods):
        table = {"psnr": [], "ssim": [], "mae": []}
        for p, person in enumerate(people):
            value = level[method] + 0.8 * np.sin(3 * p) + 0.15 * np.cos(5 * p + m)
            values = {"psnr": value, "ssim": 1 - 2 / value, "mae": 400 / value}
            for metric, number in values.items():
                rows.append([person, method, "0", "42", "test", "brain", metric, number])
                table[metric].append(number)
        for metric, numbers in table.items():
            for split, region in [("test", "brain"), ("test", "grey matter"), ("val", "brain")]:
                mean, sd = np.mean(numbers), np.std(numbers)
                board.append([method, split, region, metric, len(people), mean, sd, mean - sd, mean + sd])
    columns = ["participant_id", "method", "fold", "seed", "split", "region", "metric", "value"]
    write_tsv(root / "metrics/per_subject.tsv", pd.DataFrame(rows, columns=columns))
    columns = ["method", "split", "region", "metric", "n", "mean", "sd", "ci_low", "ci_high"]
    write_tsv(root / "metrics/leaderboard.tsv", pd.DataFrame(board, columns=columns))


def make_comparisons(root):
    """Write what the values of per_subject.tsv decide, as the workflow does."""
    values = read_tsv(root / "metrics/per_subject.tsv")
    values = values[values.metric.isin(["psnr", "ssim"])]
    methods = list(dict.fromkeys(values["method"]))
    models, baselines = ([m for m in methods if m.endswith("gan") is model] for model in (True, False))
    claim = statistics.Primary("psnr", "unet3d_patchgan", ["spline", "identity"])
    table = statistics.comparisons(values, models, baselines, higher=HIGHER, lower=LOWER, primary=claim)
    write_tsv(root / "metrics/comparisons.tsv", table)


def make_run(root, method, epochs=12, fold=0):
    folder = root / "models" / method / f"fold-{fold}_seed-42"
    card = {"method": method, "preset": "corrected", "fold": fold, "seed": 42, "best_epoch": 9, "best_val_mae": 0.0412,
            "parameters": {"generator": 58817985, "discriminator": 11048769}, "epochs": epochs, "steps": 1200,
            "train_seconds": 4210.5, "device": "cuda", "config_sha": "abcd1234", "split_sha": "9876fedc",
            "git_commit": "1f2e3d4c", "participants": {"train": ["sub-01"], "val": ["sub-02"]}}  # fmt: skip
    write_json(folder / "model.json", card)
    e = np.arange(1, epochs + 1)
    history = {"epoch": e, "step": e * 100, "seconds": e * 9.0, "lr_generator": 2e-4 * 0.95**e,
               "train_generator": 30 * np.exp(-e / 5) + 4, "train_l1": 0.3 * np.exp(-e / 5) + 0.04,
               "train_discriminator": 0.25 + 0.02 * np.sin(e), "val_mae": 0.2 * np.exp(-e / 4) + 0.04,
               "val_psnr": 26 - 8 * np.exp(-e / 4)}  # fmt: skip
    write_tsv(folder / "history.tsv", pd.DataFrame(history))
    (folder / "figures").mkdir()
    panel = ndimage.gaussian_filter(np.random.default_rng(0).random((40, 48)), 2)
    for epoch in (1, epochs):
        png = preview.triptych({"input": panel, "output": panel, "target": panel}, (0.4, 0.6))
        (folder / "figures" / f"epoch-{epoch:04d}.png").write_bytes(png)


def make_study(root, methods=tuple(LEVEL), n=3, level=LEVEL, excluded=True, trained=(), **grid):
    """Fill `root` like a finished study; returns the images of its test subjects."""
    people = [f"sub-{i:02d}" for i in range(1, n + 1)]
    scans = [[p, r, "1", f"{p}/anat/{p}_T1w.nii.gz", "64x64x30", "2x2x5", 0.064, "Hyperfine", 5e6] for p in people
             for r in ("source", "target")]  # fmt: skip
    columns = [
        "participant_id",
        "role",
        "session",
        "path",
        "shape",
        "voxel_mm",
        "field_strength_t",
        "manufacturer",
        "bytes",
    ]
    write_tsv(root / "inventory.tsv", pd.DataFrame(scans, columns=columns))
    pairs = pd.DataFrame({"participant_id": people, "source_path": "a", "target_path": "b", "source_name": "c"})
    write_tsv(root / "pairs.tsv", pairs.assign(target_name="d"))
    rows = [["sub-90", "target", "n/a", "pairing", "no target <session 2> & nothing else"]] if excluded else []
    write_tsv(root / "excluded.tsv", pd.DataFrame(rows, columns=["participant_id", "role", "path", "stage", "reason"]))
    splits = [[p, "0", "test"] for p in people] + [[f"sub-{i}", "0", s] for i, s in ((50, "train"), (51, "val"))]
    write_tsv(root / "splits.tsv", pd.DataFrame(splits, columns=["participant_id", "fold", "split"]))
    make_metrics(root, methods, people, level)
    make_comparisons(root)
    for method in trained:
        make_run(root, method)
    for job, seconds in (("preprocess/sub-01", 31.5), ("train/unet3d_fold-0_seed-42", 4210.0)):
        benchmark = pd.DataFrame({"s": [seconds], "h:m:s": "0:00:31", "max_rss": [812.4]})
        write_tsv(root / f"benchmarks/{job}.tsv", benchmark)
    return [make_images(root, p, methods, **grid) for p in people]


def render(root, images, notices=(), config=CONFIG):
    output, narrative = root / "report/index.html", Narrative(notices=notices)
    build(root, output, config=config, provenance=PROVENANCE, images=images, narrative=narrative)
    return Page((root / "report/index.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    return root, make_study(root, trained=["unet3d_patchgan"])


@pytest.fixture(scope="module")
def page(study):
    return render(*study, notices=["The data are a <phantom>."])


def test_page_refers_to_nothing_outside_itself(page):
    links = [v for _, a in page.tags for k, v in a.items() if k in ("src", "href", "srcset", "data", "action")]
    assert len(links) > 20
    assert all(link.startswith(("data:", "#")) for link in links)
    assert not page.all("link")[1:] and "@import" not in page.html and "url(" not in page.html
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    assert len(page.html) < 10e6


def test_every_section_is_there_with_landmarks_and_texts(page):
    assert [a["id"] for a in page.all("section")] == SECTIONS
    assert len(page.all("main")) == len(page.all("nav")) == len(page.all("h1")) == 1
    assert all(a.get("alt") for a in page.all("img"))
    assert all(a.get("aria-label") for a in page.all("svg"))
    assert all(a.get("scope") for a in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    for text in (
        "1 h 10 min",
        "812 MB",
        "58,817,985",
        "abcd1234",
        "2.13.0",
        "bids_dir: data/low",
        "corrected preset",
        "Made on 2026-01-02 03:04 UTC",
    ):
        assert text in page.text


def test_user_text_is_escaped(page):
    assert "<b>&study" not in page.html and "demo <b>&study</b>" in page.text
    assert "no target <session 2> & nothing else" in page.text
    assert "The data are a <phantom>." in page.text
    assert "phantom" not in dict(page.tags) and "snakemake --cores 2 <x>" in page.text


def test_headline_says_what_was_won_and_what_the_models_add(page):
    assert "Points to yes: unet3d_patchgan improves on spline by +3." in page.text
    assert "PSNR of unet3d_patchgan against every one of spline, identity, corrected among themselves" in page.text
    assert (
        "Do other models add anything to the supervised U-Net (unet3d)? Points to yes: unet3d_patchgan improves"
        in page.text
    )
    assert "this is an indication, not a proof" in page.text and "picked among" not in page.text


def test_methods_follow_the_leaderboard_and_only_networks_have_presets(tmp_path):
    make_study(tmp_path, trained=["unet3d_patchgan", "unet3d", "histogram_match"])
    page = render(tmp_path, [], config={**CONFIG, "preprocess": {"spacing": "native"}})
    listed = "unet3d_patchgan (corrected preset), unet3d (corrected preset), lohiresgan, spline, identity"
    assert f"Methods {listed}, histogram_match Split" in page.text
    assert "Working grid the target's own grid" in page.text and "native mm" not in page.text
    training = page.html.split('<section id="training"')[1].split("</section>")[0]
    assert re.findall(r"<h3>(\w+), fold", training) == ["unet3d_patchgan", "unet3d"]


def test_models_that_are_not_of_the_study_are_not_on_its_page(tmp_path):
    make_study(tmp_path, trained=["unet3d_patchgan", "unet3d"])
    make_run(tmp_path, "unet3d", fold=1)
    make_run(tmp_path, "cyclegan")
    config = {**CONFIG, "methods": ["unet3d_patchgan"], "train": {"seeds": [42]}}
    context = StudyContext(tmp_path, config, {}, Narrative())
    assert [run["method"] for run in context.runs] == ["unet3d_patchgan", "unet3d"]
    other = StudyContext(tmp_path, {**config, "train": {"seeds": [1]}}, {}, Narrative())
    assert other.runs == []


def test_uncertainty_has_a_section_where_predictions_have_a_deviation(tmp_path, page):
    assert not re.search(r'id="uncertainty"|#uncertainty', page.html)
    make_study(tmp_path)
    rows = [("sub-01", "unet3d", "0", n, 50, 0.01 * n, 0.02 * n, 0.25, 1.0) for n in range(1, 11)]
    write_tsv(tmp_path / "metrics" / "calibration.tsv", pd.DataFrame(rows, columns=calibration.COLUMNS))
    sure = render(tmp_path, [])
    assert [a["id"] for a in sure.all("section")] == [*SECTIONS[:3], "uncertainty", *SECTIONS[3:]]
    assert "overconfident" in sure.text and "#uncertainty" in sure.html
    section = sure.html.split('<section id="uncertainty"')[1].split("</section>")[0]
    assert re.findall(r'<td class="n">(.*?)</td>', section) == ["1", "6.20", "12.4", "0.250", "1.00"]


def test_comparisons_show_psnr_and_ssim_and_fold_the_rest(tmp_path):
    make_study(tmp_path)
    path = tmp_path / "metrics/comparisons.tsv"
    rows = read_tsv(path)
    rows = rows[rows.metric == "psnr"]
    rows = pd.concat(
        [rows.assign(metric=m, family=rows.family if m == "psnr" else "exploratory") for m in ("mae", "ssim", "psnr")]
    )
    write_tsv(path, rows[::-1])
    html = render(tmp_path, []).html.split('<h3 id="comparisons">')[1].split("</section>")[0]
    seen, folded = html.split("<summary>Exploratory comparisons by the other metrics")
    cells = [re.findall(r"<tr><td[^>]*>(.*?)</td><th[^>]*>(.*?)</th><td>(.*?)</td>", part) for part in (seen, folded)]
    assert list(dict.fromkeys(c[0] for c in cells[0])) == ["PSNR (dB)", "SSIM"]
    assert [c[1:] for c in cells[0]][:2] == [("unet3d_patchgan", "spline"), ("unet3d_patchgan", "identity")]
    assert "corrected among its 2 baselines" in seen and f"all {len(rows) - 2} others" in seen
    assert {c[0] for c in cells[1]} == {"MAE"}
    order = ["unet3d_patchgan", "unet3d", "lohiresgan", "spline", "identity"]
    assert [c[1:] for c in cells[1]] == sorted((c[1:] for c in cells[1]), key=lambda c: [order.index(m) for m in c])


def test_benchmarks_are_summed_by_stage_and_step(tmp_path):
    anat = "sub-01/ses-3T/anat/sub-01_ses-3T"
    jobs = {
        f"preprocess/{anat}_brain": (4, 900), "preprocess/sub-02/anat/sub-02_brain": (6, 700),
        f"preprocess/{anat}_T1w_bias": (20, 300), "train/unet3d_patchgan_fold-0_seed-42": (70, 500),
        "train/unet3d_patchgan_fold-1_seed-43": (50, "NA"), f"predict/{anat}_unet3dpatchgan_T1w": (3, 400),
        f"predict/{anat}_identity_T1w": (2, 400), "evaluate/sub-01": (1, 100), "evaluate/summarise": (1, 100),
        "ingest/phantom_sub-01": (5, 100), "ingest/phantom_dataset": (1, 100), "split/splits": (0.1, "NA"),
    }  # fmt: skip
    for name, (seconds, memory) in jobs.items():
        write_tsv(tmp_path / f"{name}.tsv", pd.DataFrame({"s": [seconds], "max_rss": [memory]}))
    rows = costs.benchmarks(tmp_path, ["identity", "unet3d_patchgan"])
    assert [(r["stage"], r["step"], r["jobs"], r["total"], r["longest"]) for r in rows] == [
        ("ingest", "phantom", 1, 5, 5), ("ingest", "phantom_dataset", 1, 1, 1),
        ("preprocess", "bias", 1, 20, 20), ("preprocess", "brain", 2, 10, 6),
        ("split", "splits", 1, 0.1, 0.1), ("train", "unet3d_patchgan", 2, 120, 70),
        ("predict", "unet3d_patchgan", 1, 3, 3), ("predict", "identity", 1, 2, 2),
        ("evaluate", "each participant", 1, 1, 1), ("evaluate", "summarise", 1, 1, 1),
        ("all", "", 12, pytest.approx(163.1), 70),
    ]  # fmt: skip
    memory = [row["memory"] for row in rows]
    assert memory[3] == 900 and np.isnan(memory[4]) and memory[5] == 500 and memory[-1] == 900


def test_several_seeds_and_folds_are_averaged_within_a_subject():
    rows = [("sub-01", "unet3d", "0", "42", 20.0), ("sub-01", "unet3d", "1", "42+43", 22.0),
            ("sub-01", "identity", "0", np.nan, 19.0), ("sub-02", "unet3d", "0", "42", np.inf)]  # fmt: skip
    values = pd.DataFrame(rows, columns=["participant_id", "method", "fold", "seed", "value"])
    scores = tables.per_subject(values.assign(split="test", region="brain", metric="psnr"), "psnr")
    assert scores.loc["sub-01"].to_dict() == {"identity": 19.0, "unet3d": 21.0}
    assert np.isnan(scores.loc["sub-02", "identity"]) and scores.loc["sub-02", "unet3d"] == np.inf


def test_one_subject_and_nothing_excluded(tmp_path):
    page = render(tmp_path, make_study(tmp_path, n=1, excluded=False))
    assert "Nothing was excluded." in page.text
    assert "Undecided, one test subject is too few: the mean of unet3d_patchgan" in page.text
    assert "nan" not in page.text.lower().split()


def test_no_models_and_no_files_at_all(tmp_path):
    page = render(tmp_path, make_study(tmp_path, methods=("identity", "spline"), n=2))
    assert "there is no network to compare with." in page.text and "The best is spline" in page.text
    assert "No model was trained." in page.text and "No comparison was made" in page.text
    bare = render(tmp_path / "empty", [], config={})
    assert [a["id"] for a in bare.all("section")] == SECTIONS
    assert "nothing was measured." in bare.text


def test_best_of_a_column_is_marked_by_more_than_colour(page):
    table = page.html.split("Test split, whole brain: mean")[1].split("</table>")[0]
    rows = {re.search(r'method \w+">(\w+)<', row)[1]: row for row in table.split("<tr")[2:]}
    assert rows["unet3d_patchgan"].count("★") == rows["unet3d_patchgan"].count("<strong>") == 3
    assert all("★" not in row for name, row in rows.items() if name != "unet3d_patchgan")
    assert [name for name, row in rows.items() if ">baseline<" in row] == ["spline", "identity"]
    assert ">supervised baseline<" in rows["unet3d"]


def test_same_input_same_bytes(study, page):
    assert render(*study, notices=["The data are a <phantom>."]).html == page.html


def test_images_that_cannot_be_shown_are_named(tmp_path):
    images = make_study(tmp_path, n=4)
    images[0].outputs["spline"].write_bytes(b"broken")
    images[1].target.write_bytes(b"broken")
    images[2].mask.write_bytes(b"broken")
    save(Volume(load(images[3].mask).data, np.eye(4)), images[3].mask)
    page = render(tmp_path, images)
    assert "spline cannot be shown: the file cannot be read as NIfTI" in page.text
    assert "The images cannot be shown: the target cannot be used (the file cannot be read" in page.text
    assert "The images cannot be shown: the brain mask cannot be used (the file cannot be read" in page.text
    assert "The images cannot be shown: the brain mask is not on the grid of the target." in page.text
    pictures = {a["aria-label"].split(", ")[-1] for a in page.all("svg") if "of the way" not in a["aria-label"]}
    assert pictures == {"sub-01"}


@pytest.mark.parametrize("pixels", [1e6, 500])
def test_what_lies_outside_the_mask_leaves_no_trace(tmp_path, pixels):
    """Faces lie outside the brain: whatever is there, in any image, the pictures are the same to the byte."""
    images = make_images(tmp_path, "sub-01", ["identity", "unet3d"])
    before = panels.subject_view(subject.read(images), pixels)
    outside = load(images.mask).data == 0
    random = np.random.default_rng(1)
    for path in (images.source, images.target, *images.outputs.values()):
        volume = load(path)
        noise = random.normal(0, 5000, volume.data.shape).astype(np.float32)
        save(volume.with_data(np.where(outside, noise, volume.data)), path)
    assert panels.subject_view(subject.read(images), pixels) == before
    inside = np.argwhere(~outside)
    voxel = tuple(inside[len(inside) // 2])
    target = load(images.target)
    target.data[:, :, voxel[2]] += 300
    save(target, images.target)
    assert panels.subject_view(subject.read(images), pixels) != before


def test_page_has_no_voxel_from_outside_the_mask(tmp_path):
    images = make_study(tmp_path, n=1)
    before = render(tmp_path, images)
    outside = load(images[0].mask).data == 0
    for path in (images[0].source, images[0].target, *images[0].outputs.values()):
        volume = load(path)
        save(volume.with_data(np.where(outside, 9999, volume.data)), path)
    assert render(tmp_path, images).html == before.html
    assert "everything outside the target’s brain mask is masked" in before.text


def test_report_subjects_limits_the_images(study):
    root, images = study
    page = render(root, images, config={**CONFIG, "report": {"subjects": 1}})
    assert [a["class"] for a in page.all("details") if a.get("class") == "subject"] == ["subject"]


def test_panels_are_turned_to_neurological_view(tmp_path):
    """A bright block at the patient's right front top lands at the right, top of the panels."""
    target = np.random.default_rng(0).random((10, 12, 8)).astype(np.float32)
    target[:5, :6, 4:] += 10  # stored left, posterior, superior: low indices are right and anterior
    affine = np.diag([-2.0, -2.0, 3.0, 1.0])
    mask = np.zeros(target.shape)
    mask[1:-1, 1:-1, 1:-1] = 1
    paths = {"target": target, "mask": mask}
    for name, data in paths.items():
        save(Volume(data, affine), tmp_path / f"{name}.nii.gz")
    path = tmp_path / "target.nii.gz"
    view = panels.subject_view(
        subject.read(SubjectImages("sub-01", path, path, tmp_path / "mask.nii.gz", {"m": path})), 1e6
    )
    axial, coronal, sagittal = view.planes
    assert (axial.size, coronal.size, sagittal.size) == ((20, 24), (20, 24), (24, 24))
    for plane in view.planes[:2]:
        picture = np.asarray(Image.open(io.BytesIO(plane.target))).astype(float)
        half = [n // 2 for n in picture.shape]
        quarter = np.median(picture[: half[0], half[1] :])  # its margin is masked
        assert quarter > 200 and picture[half[0] :, : half[1]].mean() < 60
    assert sagittal.marks == ("P", "A") and axial.marks == ("L", "R")


def test_triptych_is_a_png_of_three_panels():
    panel = np.linspace(0, 1, 30 * 40).reshape(30, 40)
    png = preview.triptych({"input": panel, "output": panel, "target": panel}, (0, 1))
    assert png == preview.triptych({"input": panel, "output": panel, "target": panel}, (0, 1))
    assert png.startswith(b"\x89PNG") and len(png) < 100_000
