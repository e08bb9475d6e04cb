"""Keys of a configuration that have another name than what the stages call them, old names among them."""

import logging
from collections.abc import Mapping
from typing import Any

from upfield.files import merged

LOG = logging.getLogger(__name__)
# By block: the key in a configuration to its name in the stages (and in their tables), and keys of earlier versions to
# those of today. The names in the stages are valid keys too, as old ones are.
NAMES = {("qc", "thresholds"): {"flip_gain": "mirror_gain", "slab_flip_gain": "slab_gain"}}
OLD = {("qc", "thresholds"): {"mirror_gain": "flip_gain", "slab_gain": "slab_flip_gain"}}


def resolved(config: Mapping[str, Any], warn: bool = True) -> dict[str, Any]:
    """The configuration with the names that the stages use, keys in the order given.

    What stands under an old key is laid over what stands under the new one, which may be a default. With `warn` the
    old keys are named in one line of the log.
    """
    result = dict(config)
    found: dict[str, str] = {}
    for path, names in NAMES.items():
        block: Any = config
        for key in path:
            block = block.get(key) if isinstance(block, Mapping) else None
        if not isinstance(block, Mapping):
            continue
        old = {key: block[key] for key in OLD[path] if key in block}
        found |= {".".join((*path, key)): ".".join((*path, OLD[path][key])) for key in old}
        new: dict[str, Any] = {str(names.get(key, key)): value for key, value in block.items() if key not in old}
        result = _replaced(result, path, merged(new, old))
    if found and warn:
        LOG.warning("config: %s", "; ".join(f"{old} is called {new} now" for old, new in found.items()))
    return result


def _replaced(config: Mapping[str, Any], path: tuple[str, ...], block: Mapping[str, Any]) -> dict[str, Any]:
    head, *rest = path
    return {**config, head: _replaced(config[head], tuple(rest), block) if rest else dict(block)}
