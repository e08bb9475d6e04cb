"""What a study cost: run time, memory and an estimate of the energy, from Snakemake's benchmark files.

Energy after Green Algorithms (Lannelongue et al. 2021, https://doi.org/10.1002/advs.202100707, equation 1 without its
factor for the computing centre): each busy second of a CPU core draws 12 W, each second of a job 0.3725 W per GB of its
peak memory, and each second of training on a GPU 200 W, their defaults for processors that are not known.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from upfield.bids import label
from upfield.report.tables import place

STAGES = ("ingest", "preprocess", "qc", "split", "patches", "train", "predict", "evaluate", "report")
# Of what Snakemake measured of a job.
MEASURED = ("s", "max_rss", "cpu_time")
CORE_W, GB_W, GPU_W = 12.0, 0.3725, 200.0
JOULES_PER_KWH = 3.6e6


def gpu_energy(runs: Iterable[Mapping[str, Any]]) -> float:
    """Estimated energy (kWh) of the GPUs that trained, on top of that of the CPUs; 0 if none did."""
    seconds = sum(run.get("train_seconds") or 0.0 for run in runs if str(run.get("device", "")).startswith("cuda"))
    return seconds * GPU_W / JOULES_PER_KWH


def benchmarks(folder: Path, methods: Sequence[str]) -> list[dict[str, Any]]:
    """A row per stage and step, in the order of the workflow, the longest step of a stage first; then their sum.

    `stage`, `step`, `jobs`, `total` and `longest` time in s, `memory`: peak resident memory of one job in MB (NaN if
    no job lived long enough to be measured), `energy`: estimated, of CPU and memory, in kWh.
    """
    jobs = measured(folder)
    if jobs.empty:
        return []
    jobs["step"] = [_step(stage, name, methods) for stage, name in zip(jobs["stage"], jobs["name"], strict=True)]
    memory = (jobs["max_rss"] * jobs["s"]).fillna(0) / 1e3 * GB_W
    jobs["energy"] = (jobs["cpu_time"].fillna(0) * CORE_W + memory) / JOULES_PER_KWH
    summary = {"jobs": ("s", "size"), "total": ("s", "sum"), "longest": ("s", "max"), "memory": ("max_rss", "max"),
               "energy": ("energy", "sum")}  # fmt: skip
    steps = jobs.groupby(["stage", "step"]).agg(**summary).reset_index()
    listed = steps.sort_values("total", ascending=False, kind="stable").to_dict("records")
    listed.sort(key=lambda row: (place(row["stage"], STAGES), row["stage"]))
    whole = jobs.assign(stage="all", step="").groupby(["stage", "step"]).agg(**summary).reset_index()
    return [*listed, *whole.to_dict("records")]


def measured(folder: Path) -> pd.DataFrame:
    """A row a job of the benchmark files in a folder: its `stage`, the `name` of its file, and what was measured.

    `s` and `cpu_time` in s, `max_rss` in MB; NaN where a job was too short to be measured.
    """
    rows = []
    for path in sorted(folder.rglob("*.tsv")):
        found = pd.read_csv(path, sep="\t")
        numbers = {key: pd.to_numeric(found.get(key, pd.Series(dtype=float)), errors="coerce").max()
                   for key in MEASURED}  # fmt: skip
        rows.append({"stage": path.relative_to(folder).with_suffix("").parts[0], "name": path.stem, **numbers})
    return pd.DataFrame(rows, columns=["stage", "name", *MEASURED])


def _step(stage: str, name: str, methods: Iterable[str]) -> str:
    """What a benchmark file measured: its name without entities (`sub-01`) and without the suffix of a scan."""
    words = [part for part in name.split("_") if "-" not in part]
    if stage == "preprocess":  # <scan>_<suffix>_<step> or <scan>_<step>
        words = words[-1:]
    if stage == "predict":  # <scan>_<method as a BIDS label>_<suffix>
        known = {label(method): method for method in methods}
        words = [known.get(word, word) for word in words[-2:-1]]
    return "_".join(words) or "each participant"
