"""What a methods text says of training."""

from collections.abc import Mapping, Sequence
from typing import Any


def methods_sentence(config: Mapping[str, Any], versions: Mapping[str, str], networks: Sequence[str]) -> str:
    """What was done, as a clause with citations; `networks` are described in words. Empty if there are none."""
    if not networks:
        return ""
    train = config.get("train", {})
    length = f", for at most {train['epochs']} epochs" if "epochs" in train else ""
    seeds = f", with seed {' and '.join(map(str, train['seeds']))}" if train.get("seeds") else ""
    version = f" {versions['torch']}" if "torch" in versions else ""
    return (
        f"we trained {'; '.join(networks)} with PyTorch{version} [paszke2019]{length}{seeds}; the epoch with the best"
        " validation was kept"
    )
