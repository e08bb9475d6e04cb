from pathlib import Path

from upfield.bids import link, uri, write_description
from upfield.files import read_json


def test_uri_of_this_study_and_of_another_dataset(tmp_path):
    study, data = tmp_path / "results" / "study", tmp_path / "sub-cortical" / "my-bids"
    output = study / "sub-01/ses-1/anat/sub-01_ses-1_desc-preproc_T1w.nii.gz"
    mask = study / "sub-01/ses-2/anat/sub-01_ses-2_desc-brain_mask.nii.gz"
    scan = data / "sub-01/anat/sub-01_T1w.nii.gz"
    assert uri(mask, output) == "bids::sub-01/ses-2/anat/sub-01_ses-2_desc-brain_mask.nii.gz"
    assert uri(scan, output) == f"bids:{link(data)}:sub-01/anat/sub-01_T1w.nii.gz"
    assert link(data) == "subcorticalmybids"
    template = Path("/templates/mni.nii.gz")
    assert uri(template, output) == template.resolve().as_uri()


def test_links_lead_to_the_datasets(tmp_path):
    data = tmp_path / "my-bids"
    sides = {side: {"bids_dir": str(data)} for side in ("source", "target")}
    write_description(tmp_path / "dataset_description.json", {"study": "s", **sides})
    links = read_json(tmp_path / "dataset_description.json")["DatasetLinks"]
    assert links == {link(data): data.resolve().as_uri()}
