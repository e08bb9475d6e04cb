"""What a trained start is worth with few pairs: test PSNR and SSIM of `restore`, started from the shipped one and not.

    python benchmarks/finetune.py --work <folder> [--data <folder with the test data, see CONTRIBUTING.md>]
        [--start restore] [--steps 200] [--pairs 1,2,4]

Low field is simulated (`lowfield`, which the shipped model never drew from) from heads of ds000011. Networks learn from
1, 2 and 4 pairs in equally many steps, the started one at a quarter of the rate; tested are the two heads that the
shipped model has not seen. One study after the other is written to the folder, so that scans are prepared once, with
the table of each beside it; what is there is not made again. Ends with 1 where the started network is not better in
both.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

ROOT = Path(__file__).resolve().parents[1]
TRAINED, VALIDATED, TESTED = ("sub-01", "sub-02", "sub-03", "sub-06"), "sub-07", ("sub-04", "sub-05")
# Patches of a volume in an epoch, patches in a step, and the rates of both networks.
PER_VOLUME, BATCH = 12, 6
RATES = {"restore": 5.0e-4, "scratch": 2.0e-3}
METRICS = ("psnr", "ssim")


def study(pairs: int, start: str | None, steps: int, folder: Path, data: Path) -> dict[str, Any]:
    """The configuration of one training."""
    name = "scratch" if start is None else "restore"
    trained = TRAINED[:pairs]
    rows = [(person, "train") for person in trained] + [(VALIDATED, "val")] + [(person, "test") for person in TESTED]
    splits = folder / f"splits-{pairs}.tsv"
    pd.DataFrame([(person, 0, part) for person, part in rows], columns=["participant_id", "fold", "split"]).to_csv(
        splits, sep="\t", index=False
    )
    return {
        "study": "finetune",
        "output_dir": str(folder / "results"),
        "target": {"bids_dir": str(data / "ds000011"), "entities": {"suffix": "T1w"}},
        "source": {"brain": {"method": "none"}},
        "pairing": "simulated",
        "participants": {"include": [person for person, _ in rows]},
        "simulate": {"kind": "lowfield", "factor": 1.5, "thickness": 2.0, "noise": 0.12},
        "preprocess": {"spacing": 1.0, "registration": {"transform": "none"}},
        "splits": {"file": str(splits)},
        "patches": {"size": 40, "per_volume": PER_VOLUME, "per_volume_val": 8},
        "methods": ["restore"],
        # The network that is in every study is made small: nothing here is said of it.
        "method_overrides": {
            "restore": {"lr": RATES[name], "batch_size": BATCH},
            "unet3d": {"base": 4, "levels": 2, "batch_size": BATCH},
        },
        "train": {
            "epochs": -(-steps * BATCH // (PER_VOLUME * pairs)),
            "ema": 0.98,
            "threads": 1,
            "init_from": {} if start is None else {"restore": start},
        },
        "evaluate": {"segmentation": False},
    }


def run(name: str, settings: dict[str, Any], folder: Path) -> pd.Series:
    """Run a study as far as its tables; returns the means of its test participants in the brain."""
    kept, config = folder / f"{name}.tsv", folder / f"{name}.yaml"
    config.write_text(yaml.safe_dump(settings, sort_keys=False))
    if not kept.exists():
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "1"]
        subprocess.run(
            [*command, "--directory", str(folder), "--configfile", str(config), "--quiet", "all", "--", "evaluate"],
            check=True,
            env={**os.environ, "PYTHONPATH": str(ROOT / "workflow" / "scripts")},
        )
        shutil.copyfile(folder / "results" / settings["study"] / "metrics" / "leaderboard.tsv", kept)
    table = pd.read_csv(kept, sep="\t")
    means = table[(table["split"] == "test") & (table["region"] == "brain")]
    return means.set_index(["method", "metric"])["mean"]


def main() -> int:
    """Train, measure, print; says where the start is not better."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--start", default="restore")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--pairs", default="1,2,4")
    arguments = parser.parse_args()
    folder = arguments.work.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    missed = []
    for pairs in map(int, arguments.pairs.split(",")):
        found: dict[str, list[float]] = {}
        for name, start in (("scratch", None), ("started", arguments.start)):
            settings = study(pairs, start, arguments.steps, folder, arguments.data.resolve())
            board = run(f"{name}-{pairs}", settings, folder)
            found[name] = [float(board[("restore", metric)]) for metric in METRICS]
            found["denoise"] = [float(board[("denoise", metric)]) for metric in METRICS]
        for name, (psnr, ssim) in found.items():
            print(f"{pairs} pairs  {name:8s} {psnr:6.2f} dB  SSIM {ssim:.3f}  n {len(TESTED)}", flush=True)
        for number, metric in enumerate(METRICS):
            if found["started"][number] <= found["scratch"][number]:
                missed.append(f"{pairs} pairs: {metric}")
    print("missed: " + "; ".join(missed) if missed else "the started network is better everywhere")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
