"""What a finished study cost for each participant, by stage: core-minutes, peak memory, GPU-minutes.

python benchmarks/costs.py results/my-study

Read from the benchmark files that Snakemake wrote. GPU-minutes are those of the jobs that train and predict, where the
model cards say that a GPU was used.
"""

import sys
from pathlib import Path

import pandas as pd
from upfield.files import read_json
from upfield.report.costs import STAGES, measured
from upfield.report.tables import place

ON_GPU = ("train", "predict")


def costs(root: Path) -> pd.DataFrame:
    """A row a stage: jobs of the study, core-minutes and GPU-minutes per participant, peak GB of one job."""
    jobs = measured(root / "benchmarks")
    if jobs.empty:
        sys.exit(f"{root}: there are no benchmark files of Snakemake; name the folder of a study that has run")
    people = len(list(root.glob("sub-*"))) or 1
    cards = [read_json(path) for path in (root / "models").rglob("model.json")]
    gpu = any(str(card.get("device", "")).startswith("cuda") for card in cards)
    rows = []
    for stage, found in jobs.groupby("stage"):
        rows.append(
            {
                "stage": stage,
                "jobs": len(found),
                "core-minutes": found["cpu_time"].sum() / 60 / people,
                "GB": found["max_rss"].max() / 1000,
                "GPU-minutes": found["s"].sum() / 60 / people if gpu and stage in ON_GPU else 0.0,
            }
        )
    rows.sort(key=lambda row: (place(row["stage"], STAGES), row["stage"]))
    whole = {"stage": "all", "jobs": len(jobs), "GB": jobs["max_rss"].max() / 1000}
    whole |= {name: sum(row[name] for row in rows) for name in ("core-minutes", "GPU-minutes")}
    return pd.DataFrame([*rows, whole])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(costs(Path(sys.argv[1])).to_string(index=False, float_format="{:.2f}".format))
