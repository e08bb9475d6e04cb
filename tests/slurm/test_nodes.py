"""One training spread over the nodes of a job."""

import shutil

import numpy as np
from upfield.files import read_json, read_tsv

from .conftest import Study

# Few epochs, and two batches a step: one for each process, or both for one.
TRAIN = "train={epochs: 4, accumulate: 2, preview_every: 0, processes: %d}"
# As docs/hpc.md says it, for nodes with one GPU.
NODES = [f"train_model:{resource}" for resource in ("nodes=2", "gres=gpu:1", "gpu=0", "tasks_per_gpu=0")]


def test_a_training_over_two_nodes_takes_the_steps_of_one_process(undisturbed, tmp_path):
    studies = []
    for processes in (1, 2):
        study = Study(tmp_path / f"processes-{processes}", undisturbed.slurm, undisturbed.data)
        shutil.copytree(undisturbed.root, study.root, ignore=shutil.ignore_patterns("models"))
        studies.append(study)
    alone, together = studies
    target = "models/unet3d/fold-0_seed-42/model.json"
    before = {job["JobId"] for job in alone.slurm.jobs("train_model")}
    alone.run_locally(str(alone.root / target), "--config", TRAIN % 1)
    together.run(str(together.root / target), "--config", TRAIN % 2, "--set-resources", *NODES)
    (job,) = [job for job in alone.slurm.jobs("train_model") if job["JobId"] not in before]
    assert (job["JobState"], job["NumNodes"], job["NodeList"]) == ("COMPLETED", "2", "n[1-2]")
    histories = [read_tsv(study.model() / "history.tsv").drop(columns="seconds") for study in studies]
    np.testing.assert_allclose(*histories, rtol=1e-3, atol=1e-5)
    assert read_json(together.model() / "model.json")["steps"] == read_json(alone.model() / "model.json")["steps"]
