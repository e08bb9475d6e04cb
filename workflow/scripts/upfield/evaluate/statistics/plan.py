"""What a study says before it runs: the one claim that is tested as such. All else is exploratory."""

from collections.abc import Sequence
from typing import NamedTuple


class Primary(NamedTuple):
    """The primary comparison, named in the configuration before anything is measured.

    Attributes
    ----------
    metric
        That decides; empty if the study named none.
    method
        That is judged.
    baselines
        It is judged against these; several are corrected among themselves.
    margin
        How much worse than a baseline is still no worse (non-inferiority), in units of the metric; None for no such
        claim.

    """

    metric: str = ""
    method: str = ""
    baselines: Sequence[str] = ()
    margin: float | None = None

    def holds(self, method: str, rival: str, metric: str) -> bool:
        """Whether a comparison, in whichever order of the two, is the primary one or one of those."""
        turned = method in self.baselines and rival == self.method
        return metric == self.metric and (turned or (method == self.method and rival in self.baselines))
