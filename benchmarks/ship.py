"""Make of a trained model one that comes with Upfield: its weights in half precision, and its card.

    python benchmarks/ship.py results/restore/models/restore/fold-0_seed-42 config/models/restore

Ends with an error where the weights are larger than 10 MB. Measure what was written before it is committed, by
`benchmarks/restore.py --model`.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from upfield.catalogue.weights import DIGEST  # noqa: E402
from upfield.files import read_json  # noqa: E402
from upfield.methods import model  # noqa: E402

LARGEST = 10_000_000


def main() -> int:
    """Read, halve, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trained", type=Path)
    parser.add_argument("shipped", type=Path)
    arguments = parser.parse_args()
    weights = model.read_weights(arguments.trained / "model.safetensors")
    size = sum(2 * weight.numel() for weight in weights.values())
    if size > LARGEST:
        sys.exit(f"{arguments.trained}: {size / 1e6:.1f} MB in half precision; expected at most {LARGEST / 1e6:.0f}")
    card = {key: value for key, value in read_json(arguments.trained / "model.json").items() if key != DIGEST}
    arguments.shipped.mkdir(parents=True, exist_ok=True)
    model.save(arguments.shipped, {name: weight.half() for name, weight in weights.items()}, card)
    print(f"{arguments.shipped}: {size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
