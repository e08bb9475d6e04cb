"""`upfield init`: what it makes of a dataset, and that its config can be run."""

import zlib

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from upfield.commands.main import upfield_command
from upfield.errors import UpfieldError
from upfield.image.nifti import Volume
from upfield.study import kinds


def head(number, voxel=5.0, stripped=False):
    """A field of view of 100 mm along each axis; brains alone have nothing around them."""
    shape = (20, 20, round(100 / voxel))
    data = np.random.default_rng(number).uniform(1, 100, shape).astype(np.float32)
    if stripped:
        inside = np.zeros(shape, bool)
        inside[3:-3, 3:-3, 3:-3] = True
        data[~inside] = 0
    return Volume(data, np.diag([5.0, 5.0, voxel, 1.0]))


def scan(number, session=None, suffix="T1w", volume=None, **fields):
    """The files of a scan, by path."""
    folder = f"sub-{number:02d}/" + (f"ses-{session}/" if session else "")
    name = f"{folder}anat/{folder.replace('/', '_')}{suffix}"
    seed = zlib.crc32(name.encode())
    files = {f"{name}.nii.gz": head(seed) if volume is None else volume(seed)}
    return files | ({f"{name}.json": fields} if fields else {})


def together(*scans):
    return {path: what for files in scans for path, what in files.items()}


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Run `upfield init` in an empty folder; the text of its config, the config, and what it printed come back."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def run(*arguments, gpu=False):
        monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
        done = CliRunner().invoke(upfield_command, ["init", *map(str, arguments)])
        if done.exception is not None:
            raise done.exception
        text = (tmp_path / "here/config.yaml").read_text()
        return text, yaml.safe_load(text), done.output

    return run


def planned(said):
    """The study of a config that `init` wrote."""
    return kinds.of(kinds.resolved(kinds.configuration.whole(said), said))


def test_two_sessions_of_the_same_people_are_pairs_the_lower_field_the_source(written, bids_tree):
    people = [scan(n, "lo", MagneticFieldStrength=0.064) for n in range(1, 7)]
    people += [scan(n, "hi", MagneticFieldStrength=3) for n in range(1, 7) if n != 5]
    people += [scan(n, session, "T2w") for n in (1, 2, 3) for session in ("lo", "hi")]
    root = bids_tree(together(*people))
    text, said, printed = written(root)
    assert said["pairing"] == "paired"
    assert said["source"] == {"bids_dir": str(root), "entities": {"session": "lo", "suffix": "T1w"}}
    assert said["target"]["entities"] == {"session": "hi", "suffix": "T1w"}
    assert "can name: T2w" in text and "0.064 T" in text
    assert sorted(planned(said).pairs) == [f"sub-{n:02d}" for n in (1, 2, 3, 4, 6)]
    rows = [line.split() for line in printed.splitlines()]
    assert ["lo", "T1w", "6", "6", "0.064", "T"] in [row[:6] for row in rows]


def test_thicker_voxels_are_the_source_where_no_sidecar_says_more(written, bids_tree):
    root = bids_tree(together(*[scan(n, "a") for n in range(1, 4)],
                              *[scan(n, "b", volume=lambda seed: head(seed, 10.0)) for n in range(1, 4)]))  # fmt: skip
    _, said, _ = written(root)
    assert (said["source"]["entities"]["session"], said["target"]["entities"]["session"]) == ("b", "a")


def test_the_suffix_of_most_pairs_is_taken_though_another_has_more_scans(written, bids_tree):
    both = [scan(n, s, "T2w", MagneticFieldStrength=f) for n in range(1, 5) for s, f in (("a", 1.5), ("b", 3))]
    more = [scan(n, "a", MagneticFieldStrength=1.5) for n in range(1, 8)]
    _, said, _ = written(bids_tree(together(*both, *more)))
    assert said["target"]["entities"] == {"session": "b", "suffix": "T2w"}


def test_rescans_are_no_pairs_and_poor_scans_are_simulated(written, bids_tree):
    root = bids_tree(together(*[scan(n, s) for n in range(1, 5) for s in (1, 2)]))
    text, said, _ = written(root)
    assert said["pairing"] == "simulated" and "source" not in said
    assert said["target"]["entities"] == {"session": "1", "suffix": "T1w"} and "Other sessions: 2." in text


def test_few_people_are_all_tested_and_many_are_not(written, bids_tree):
    _, said, _ = written(bids_tree(together(*[scan(n) for n in range(1, 5)]), "few"))
    assert said["splits"] == {"scheme": "kfold", "folds": 4}
    assert sorted(planned(said).tested) == [f"sub-{n:02d}" for n in range(1, 5)]
    _, said, _ = written(bids_tree(together(*[scan(n) for n in range(1, 26)]), "many"), "--overwrite")
    assert said["splits"]["scheme"] == "holdout" and len(planned(said).tested) == 5


def test_networks_are_small_only_where_no_gpu_is(written, bids_tree):
    root = bids_tree(together(*[scan(n) for n in range(1, 4)]))
    _, said, _ = written(root)
    assert said["methods"] == ["upfield"] and said["method_overrides"]["unet3d"]["base"] == 8
    _, said, _ = written(root, "--overwrite", gpu=True)
    assert said["methods"] == ["upfield"] and not {"method_overrides", "train"} & set(said)


def test_two_scanners_of_different_people_are_unpaired(written, bids_tree):
    makers = {n: "Siemens" if n < 6 else "GE" for n in range(1, 12)}
    root = bids_tree(together(*[scan(n, Manufacturer=maker) for n, maker in makers.items()]))
    text, said, _ = written(root)
    assert said["pairing"] == "unpaired" and said["methods"] == ["cyclegan"]
    assert {said[side]["metadata"]["Manufacturer"] for side in ("source", "target")} == {"Siemens", "GE"}
    assert "different people: 5" in text
    assert len(planned(said).index.used) == 11


def test_two_datasets_are_unpaired_whatever_their_labels(written, bids_tree):
    roots = [bids_tree(together(*[scan(n) for n in numbers]), name)
             for name, numbers in (("one", range(1, 5)), ("two", range(3, 9)))]  # fmt: skip
    text, said, _ = written(*roots)
    assert [said[side]["bids_dir"] for side in ("source", "target")] == list(map(str, roots))
    assert said["study"] == "one-to-two" and "taken for different people" in text
    assert said["splits"] == {"scheme": "kfold", "folds": 4}


def test_skull_stripped_scans_are_known_as_such(written, bids_tree):
    def brain(seed):
        return head(seed, stripped=True)

    _, said, printed = written(bids_tree(together(*[scan(n, volume=brain) for n in range(1, 4)])))
    assert said["target"]["brain"] == {"method": "none"} and "skull-stripped" in printed


def test_scans_that_cannot_be_read_do_not_stop_the_look(written, bids_tree):
    files = together(*[scan(n) for n in range(1, 5)])
    files["sub-01/anat/sub-01_T1w.nii.gz"] = b"git-annex"
    _, said, printed = written(bids_tree(files))
    assert said["pairing"] == "simulated" and "1 of the scans that were opened cannot be read" in printed


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ([1, 2], ["has 2 participants with T1w scans", "at least 3", "upfield enhance"]),
        ([], ["has no scan in a folder anat"]),
    ],
)
def test_too_few_participants_are_one_line(written, bids_tree, refused, numbers, words, tmp_path):
    with refused(*words):
        written(bids_tree(together(*map(scan, numbers))))
    assert not (tmp_path / "here/config.yaml").exists()


def test_no_dataset_is_one_line_and_a_config_is_not_replaced(written, bids_tree, refused, tmp_path):
    with refused("no dataset_description.json"):
        written(tmp_path)
    (tmp_path / "here/config.yaml").write_text("mine\n")
    with refused("config.yaml is there already", "--overwrite"):
        written(bids_tree(together(*[scan(n) for n in range(1, 4)])))
    assert (tmp_path / "here/config.yaml").read_text() == "mine\n"


def test_nothing_but_the_config_is_written(written, bids_tree, tmp_path):
    root = bids_tree(together(*[scan(n) for n in range(1, 4)]))
    before = sorted(root.rglob("*"))
    written(root)
    assert sorted(root.rglob("*")) == before
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["config.yaml"]


@pytest.mark.real
def test_real_heads_and_real_brains(written, real_data):
    _, said, printed = written(real_data / "ds000011")
    assert said["pairing"] == "simulated" and "brain" not in said["target"]
    assert "Siemens Allegra" in printed and "1 x 1.33 x 1.33 mm" in printed
    _, said, _ = written(real_data / "ds002748", "--overwrite")
    assert said["target"]["brain"] == {"method": "none"}
    with pytest.raises(UpfieldError, match="1 participant with"):
        written(real_data / "open_ms", "--overwrite")
