"""Parts of the report that are text or tables: the winner, methods text, tables to save, costs."""

import base64
import gzip
import io
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import upfield
from upfield.evaluate import statistics
from upfield.evaluate.metrics import HIGHER, LOWER
from upfield.files import write_tsv
from upfield.image import intensity
from upfield.preprocess import registration
from upfield.preprocess.brain.tool import tools
from upfield.report import citing, costs, narrative, tables, winner
from upfield.report.sections import tables as export
from upfield.study import config as study_config

WOBBLE = (0.0, 0.1, -0.1, 0.05, 0.02, -0.03, 0.07, -0.06)


def measured(**levels):
    """Rows of per_subject.tsv of eight participants; a method's PSNR, its MAE, and its PSNR in white matter."""
    rows = []
    for method, (psnr, mae, white) in levels.items():
        for person, wobble in enumerate(WOBBLE):
            for region, metric, value in (("brain", "psnr", psnr), ("brain", "mae", mae), ("white", "psnr", white)):
                rows.append([f"sub-{person + 1:02d}", method, "0", "42", "test", region, metric, value + wobble])
    columns = ["participant_id", "method", "fold", "seed", "split", "region", "metric", "value"]
    return pd.DataFrame(rows, columns=columns)


def say(values):
    methods = list(dict.fromkeys(values["method"]))
    compared = statistics.comparisons(values, methods, [], higher=HIGHER, lower=LOWER)
    return [" ".join(s.split()) for s in winner.sentences(values, tables.per_subject(values, "psnr"), compared)]


def test_winner_has_an_interval_and_is_told_where_it_loses():
    values = measured(unet3d=(26, 3, 20), srdcgan=(25, 2, 22), spline=(22, 5, 19))
    first, lost, rest, intervals = say(values)
    column = 26 + np.array(WOBBLE)
    half = 2.364624 * column.std(ddof=1) / np.sqrt(8)
    assert first.startswith(
        f"Winner by mean PSNR: unet3d with {column.mean():.2f} dB"
        f" (n = 8, 95 % CI {column.mean() - half:.2f} to {column.mean() + half:.2f}), +1.00 dB ahead of"
        " srdcgan, the next"
    )
    assert lost == ("Where unet3d loses: in the whole brain srdcgan is better by MAE (1).")
    # Only what is compared in the whole brain is tested.
    assert rest == "Another mean is better, undecided or not tested, by PSNR in white matter (srdcgan)."
    assert "those of the table of comparisons" in intervals


def test_losses_to_one_method_are_told_together():
    values = measured(unet3d=(26, 3, 20), srdcgan=(25, 2, 19))
    extra = values[values.metric == "mae"].assign(metric="rmse")
    lost = say(pd.concat([values, extra], ignore_index=True))[1]
    assert lost == "Where unet3d loses: in the whole brain srdcgan is better by MAE (1); RMSE."


def test_undecided_losses_are_not_called_losses_and_a_clean_win_is():
    close = measured(unet3d=(26, 3, 20), spline=(22, 5, 19))
    assert say(close)[1] == "unet3d has the best mean by every metric and in every region that was measured."
    one = (close.method == "spline") & (close.metric == "mae")
    close.loc[one, "value"] = [9.0, -9.0, 2.0, 3.0, 9.0, -9.0, 2.0, 3.0]
    assert (
        "loses nowhere for certain; another mean is better, undecided or not tested, by MAE (spline)." in say(close)[1]
    )


def test_participants_for_whom_another_method_is_better_are_named():
    values = measured(unet3d=(26, 3, 20), spline=(22, 5, 19))
    values.loc[(values.participant_id == "sub-03") & (values.method == "spline"), "value"] = 30.0
    assert say(values)[-2] == "Another method reaches a higher PSNR for 1 of 8 test participants: sub-03 (spline)."
    assert say(measured(unet3d=(26, 3, 20))) == []


def written(config, provenance=None, methods=()):
    return citing.written(config, provenance or {}, list(methods), narrative.of(config))


def test_methods_text_cites_what_was_done_and_nothing_else():
    config = {
        "pairing": "paired", "phantom": None, "methods": ["lohiresgan"], "train": {"epochs": 3, "seeds": [1, 2]},
        "preprocess": {"brain": {"method": "deepbet"}, "n4": False, "registration": {"transform": "rigid"}},
        "splits": {"scheme": "kfold", "folds": 4, "seed": 7},
        "evaluate": {"metrics": ["psnr", "ssim"], "regions": True, "atlas": {"images": "a", "names": "b"}},
    }  # fmt: skip
    found = written(config, {"versions": {"torch": "2.13.0"}}, ["identity", "lohiresgan"])
    for words in ("deepbet (Fisch et al., 2024)", "PyTorch 2.13.0", "4-fold cross-validation (seed 7)", "seed 1 and 2",
                  "ssim (Wang et al., 2004)", "(Holm, 1979)",
                  "(rigid transform) (Avants et al., 2011a)",
                  "Atropos (Avants et al., 2011b) and in regions of a label image",
                  "Baselines without a network: identity"):  # fmt: skip
        assert words in found["text"]
    assert "N4" not in found["text"] and "[" not in found["text"]
    keys = re.findall(r"^@\w+\{(\w+),$", found["bibtex"], flags=re.M)
    assert keys == sorted(keys) and {"islam2023", "paszke2019", "avants2011"} <= set(keys)
    assert not {"tustison2010", "zhu2017", "gal2016", "fortin2018"} & set(keys)
    assert found["bibtex"].count("{") == found["bibtex"].count("}")


def test_methods_text_knows_every_way_of_preprocessing():
    """A choice of the configuration that the text would pass over, or stumble over, is a mistake in the text."""
    schema = study_config.schema()
    prep = schema["properties"]["preprocess"]["properties"]
    brains = schema["$defs"]["brain"]["properties"]["method"]["enum"]
    assert {name for name, tool in tools().items() if tool.says} | {"none"} == set(brains)
    assert {*registration.SAID, "none"} == set(prep["registration"]["properties"]["transform"]["enum"])
    assert set(intensity.SAID) == set(prep["normalize"]["properties"]["method"]["enum"])
    assert set(prep["template"]["properties"]["transform"]["enum"]) <= set(registration.SAID)
    chosen = {"brain": {"method": "hdbet"}, "registration": {"transform": "syn"}, "normalize": {"method": "nyul"},
              "template": {"name": "MNI305", "image": None, "transform": "affine"}}  # fmt: skip
    found = written({"pairing": "paired", "preprocess": chosen})
    for words in ("HD-BET (Isensee et al., 2019)", "SyN (Avants et al., 2008)",
                  "MNI305 from TemplateFlow (Ciric et al., 2022)",
                  "(Nyúl and Udupa, 1999)"):  # fmt: skip
        assert words in found["text"]


def test_every_reference_has_a_label_and_every_citation_a_reference():
    library = citing.references((citing.HERE / "references.bib").read_text(encoding="utf-8"))
    labels = [citing.label(entry) for entry in library.values()]
    assert all(re.fullmatch(r"[^\\{}]+, (19|20)\d\d", label) for label in labels)
    assert "Gal and Ghahramani, 2016" in labels and "Mölder et al., 2021" in labels
    library_code = Path(upfield.__file__).parent
    files = [*library_code.rglob("*.py"), *(study_config.ROOT / "config" / "methods").glob("*.yaml")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    cited = {key for keys in re.findall(r"\[((?:[a-z]+\d{4}[a-z]*(?:, )?)+)\]", text) for key in keys.split(", ")}
    assert {"cicek2016", "tustison2010", "holm1979", "fisch2024"} <= cited <= set(library)


def test_an_unpaired_study_was_not_compared_with_target_images():
    config = {"pairing": "unpaired", "preprocess": {"brain": {"method": "deepbet"}, "spacing": "native",
                                                    "registration": {"transform": "rigid"}},
              "evaluate": {"metrics": ["psnr", "ssim"]}}  # fmt: skip
    text = written(config, methods=["identity", "cyclegan"])["text"]
    assert "Outputs were compared" not in text and "truth" not in text and "psnr" not in text
    assert "no target image that an output could be compared with" in text and "classifier" in text
    assert "registered" not in text and "the target's own grid" not in text
    assert "Outputs were compared with the target" in written({**config, "pairing": "paired"})["text"]


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        (None, None, "Brains were extracted with deepbet"),
        ({"method": "none"}, None, "Scans of the source had been skull-stripped before and brains of the target were"),
        (None, {"method": "bet"}, "Brains of the source were extracted with deepbet (Fisch et al., 2024) and brains of"
                                  " the target were extracted with BET (Smith, 2002)"),
        ({"method": "none"}, {"method": "none"}, "Scans had been skull-stripped before"),
    ],
)  # fmt: skip
def test_methods_text_says_on_which_side_brains_were_extracted(source, target, said):
    config = {"pairing": "unpaired", "preprocess": {"brain": {"method": "deepbet"}},
              "source": {"brain": source}, "target": {"brain": target}}  # fmt: skip
    text = written(config)["text"]
    assert said in text
    assert text.count("extracted") == sum((side or {"method": "x"})["method"] != "none" for side in (source, target)
                                          ) - (source is target is None)  # fmt: skip


def test_the_text_is_read_without_loading_what_does_the_work():
    """A report takes no network and no registration."""
    check = "import sys, upfield.report.page; print(sorted({'torch', 'ants', 'monai'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], check=True, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]"


def test_tables_come_back_from_the_page_to_the_byte(tmp_path):
    write_tsv(tmp_path / "metrics/leaderboard.tsv", pd.DataFrame({"method": ["a", "b"], "mean": [1 / 3, 2.0]}))
    write_tsv(tmp_path / "splits.tsv", pd.DataFrame({"fold": [0]}))
    found = export.archive(tmp_path, {})
    assert [(f["name"], f["rows"]) for f in found["files"]] == [("metrics/leaderboard.tsv", 2), ("splits.tsv", 1)]
    original = (tmp_path / "metrics/leaderboard.tsv").read_bytes()
    assert gzip.decompress(base64.b64decode(found["files"][0]["data"])) == original
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(found["archive"]))) as archive:
        assert archive.namelist() == ["metrics/leaderboard.tsv", "splits.tsv"]
        assert archive.read("metrics/leaderboard.tsv") == original
    assert export.archive(tmp_path, {}) == found
    assert export.archive(tmp_path / "none", {}) == {"files": [], "archive": None, "left_out": []}


def test_energy_is_cpu_time_memory_and_gpu(tmp_path):
    """An hour of one core: 12 Wh; an hour with 2 GB: 0.745 Wh; half an hour of a GPU: 100 Wh."""
    job = pd.DataFrame({"s": [3600.0], "max_rss": [2000.0], "cpu_time": [3600.0]})
    write_tsv(tmp_path / "train/unet3d_fold-0_seed-1.tsv", job)
    write_tsv(tmp_path / "split/splits.tsv", pd.DataFrame({"s": [1.0], "max_rss": ["NA"], "cpu_time": ["NA"]}))
    rows = costs.benchmarks(tmp_path, ["unet3d"])
    assert [row["energy"] for row in rows] == pytest.approx([0, 0.012745, 0.012745])
    trained = [{"device": "cuda", "train_seconds": 1800.0}, {"device": "cpu", "train_seconds": 9e9}, {"device": "cuda"}]
    assert costs.gpu_energy(trained) == pytest.approx(0.1)
