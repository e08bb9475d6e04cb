"""Any network of MONAI that turns one image into another, by its name: comparators by configuration alone.

Its transformers import einops.
"""

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from upfield.methods.supervised import Supervised

DIMS = 3


def make(name: str, arguments: Mapping[str, Any], in_channels: int) -> nn.Module:
    """A class of `monai.networks.nets` with its arguments; channels and dimensions are given where it has them.

    `name` is `SwinUNETR`, or `restormer.Restormer` for one that stands in a module of that package alone. Raises
    ValueError for a name or an argument that is unknown, and for what the class refuses.
    """
    folder, _, last = name.rpartition(".")
    try:
        module = importlib.import_module(".".join(filter(None, ["monai.networks.nets", folder])))
    except ImportError:
        module = None
    kind = getattr(module, last, None)
    if not (inspect.isclass(kind) and issubclass(kind, nn.Module)):
        raise ValueError(f"network is {name!r}; expected a class of monai.networks.nets, such as SwinUNETR")
    parameters = inspect.signature(kind).parameters
    unknown = sorted(set(arguments) - set(parameters))
    if unknown:
        raise ValueError(f"settings have {', '.join(unknown)}; {name} takes {', '.join(parameters)}")
    fixed = {"spatial_dims": DIMS, "in_channels": in_channels, "out_channels": 1}
    try:
        return kind(**{key: value for key, value in fixed.items() if key in parameters} | dict(arguments))
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{name} refuses its arguments: {reason}") from error


class MonaiNetwork(Supervised):
    """A network of MONAI, trained as `upfield` is; sizes of its input are multiples of 2**`halvings`.

    Settings that are not of `Supervised` are arguments of the network.
    """

    def __init__(self, *, network: str, halvings: int, in_channels: int = 1, **settings: Any) -> None:
        shared = {name: settings.pop(name) for name in inspect.signature(Supervised).parameters if name in settings}
        super().__init__(make(network, settings, in_channels), in_channels=in_channels, **shared)
        self.divisor = 2**halvings


METHOD = MonaiNetwork
