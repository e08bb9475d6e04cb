"""What a machine with a GPU is asked in one go: does Upfield compute right on it, how fast, and does it learn.

    python benchmarks/gpu.py --minutes 8
    python benchmarks/gpu.py --device cpu --minutes 2

It needs Python, torch, scipy, pandas, scikit-image, matplotlib, PyYAML, safetensors, monai and nibabel; no network, and
no data but what it makes (or `--data`, a folder of NIfTI heads, three at least). It prints as it goes, and writes
`gpu.json` and the table `gpu.txt` to `--out`, anew after every part. Each part runs in a process of its own, ends
itself in time and is killed if it does not. Whatever happens, all ends within `--minutes`.

On a CPU everything is smaller: from 1.5 minutes the networks that are compared have published size and see small
patches; with less time all networks are small. Every line says what was run.

Exit status: 0 if every part reported and found nothing wrong; 1 if a part failed, was killed, had no time left or found
something wrong (the others have run all the same); 2 for a mistake on the command line.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "workflow" / "scripts")]

from gpubench.parts import PARTS, chosen  # noqa: E402
from gpubench.runner import run  # noqa: E402


def main() -> int:
    groups = list(dict.fromkeys(part.group for part in PARTS))
    names = ", ".join(part.name for part in PARTS)
    parser = argparse.ArgumentParser(description="Upfield on a GPU: right, fast, learning. See docs/results.md.")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--minutes", type=float, default=8.0, help="the whole run ends within this time")
    parser.add_argument("--data", type=Path, help="a folder of NIfTI heads; without it heads are made")
    parser.add_argument("--out", type=Path, default=Path("results") / "gpu", help="where gpu.json and gpu.txt go")
    parser.add_argument("--parts", default=",".join(groups), help=f"{', '.join(groups)}; or any of {names}")
    asked = parser.parse_args()
    if not 0 < asked.minutes <= 24 * 60:
        parser.error(f"--minutes is {asked.minutes:g}; expected more than 0, and a day at most")
    if asked.data is not None and not asked.data.is_dir():
        parser.error(f"--data is {asked.data}, which is no folder")
    try:
        parts = chosen(asked.parts.split(","))
    except ValueError as error:
        parser.error(str(error))
    return run(parts, device=asked.device, minutes=asked.minutes, data=asked.data, out=asked.out)


if __name__ == "__main__":
    sys.exit(main())
