"""What a methods text says of training."""

from collections.abc import Mapping, Sequence
from typing import Any


def methods_sentence(
    config: Mapping[str, Any], versions: Mapping[str, str], networks: Sequence[str], last: Sequence[str] = ()
) -> str:
    """What was done, as a clause with citations; `networks` are described in words. Empty if there are none.

    `last` are the names of those whose last epoch was kept.
    """
    if not networks:
        return ""
    train = config.get("train", {})
    length = f", for at most {train['epochs']} epochs" if "epochs" in train else ""
    seeds = f", with seed {' and '.join(map(str, train['seeds']))}" if train.get("seeds") else ""
    version = f" {versions['torch']}" if "torch" in versions else ""
    kept = "the epoch with the best validation was kept"
    if last:
        rest = " and that with the best validation of the others were kept"
        kept = f"the last epoch of {' and '.join(last)}{rest if len(last) < len(networks) else ' was kept'}"
    return f"we trained {'; '.join(networks)} with PyTorch{version} [paszke2019]{length}{seeds}; {kept}"
