"""Which method wins, by how much, and where it loses: other metrics, other regions, single participants.

That a difference is more than chance is said only where `metrics/comparisons.tsv` decided it, which is in the whole
brain; intervals of differences are those that agree with its decisions.
"""

from dataclasses import dataclass

import pandas as pd

from upfield.evaluate.metrics.registry import KNOWN
from upfield.evaluate.statistics import decide, gap, subject_table
from upfield.evaluate.statistics.decide import Compared
from upfield.evaluate.statistics.interval import t_interval
from upfield.report import tables
from upfield.report.headline import NBSP, signed

SHOWN = 6  # losses and participants named before the rest are counted
INTERVALS = (
    "Intervals of differences up here are those of the table of comparisons: each leaves 0 out exactly where its"
    " adjusted p is below 0.05. Outside the whole brain nothing was tested."
)


@dataclass(frozen=True)
class Loss:
    """Another method's better mean: `gap` is the winner minus that method, of which outside the brain only the mean.

    `decided` is whether the comparisons say that the other method is better.
    """

    metric: str
    region: str
    rival: str
    gap: Compared
    decided: bool


def sentences(values: pd.DataFrame, psnr: pd.DataFrame, comparisons: pd.DataFrame) -> list[str]:
    """The winner by mean PSNR with its interval and its lead, and where it loses; nothing for fewer than two methods.

    `values` are rows of `metrics/per_subject.tsv`, `psnr` their test PSNR in the brain: participants x methods;
    `comparisons` are rows of `metrics/comparisons.tsv`.
    """
    means = psnr.mean().dropna().sort_values(ascending=False, kind="stable")
    if len(means) < 2:
        return []
    winner, second = means.index[:2]
    known = psnr[winner].dropna()
    (low,), (high,) = t_interval(known.to_numpy()[:, None])
    lead = decide.between(comparisons, winner, second, "psnr")
    text = f"Winner by mean PSNR: {winner} with {signed(known.mean()).removeprefix('+')} dB"
    text += f" (n{NBSP}={NBSP}{len(known)}" + (f", 95{NBSP}% CI {low:.2f} to {high:.2f})" if low == low else ")")
    if lead.n:
        shown = {decide.BETTER: "", decide.SAME: ", too small to matter"}.get(lead.decision, ", not shown to differ")
        kind = "" if lead.alone else "adjusted "
        interval = f" ({kind}95{NBSP}% CI {signed(lead.low)} to {signed(lead.high)})" if lead.bounded else ""
        text += f", {signed(lead.mean)} dB ahead of {second}, the next{interval}{shown}"
    result = [f"{text}.", *_lost(winner, losses(values, winner, comparisons)), *_participants(psnr, winner)]
    return [*result, INTERVALS] if len(known) > 1 else result


def losses(values: pd.DataFrame, winner: str, comparisons: pd.DataFrame) -> list[Loss]:
    """Every metric and region of the test split in which another method has the better mean, the whole brain first.

    But for those where what lies between the two is shown to be too small to matter.
    """
    result = []
    chosen = values[(values.split == "test") & values.metric.isin([*tables.HIGHER, *tables.LOWER])]
    for (region, metric), part in chosen.groupby(["region", "metric"]):
        table = subject_table(part).dropna(axis=1, how="all")
        if winner not in table or table.shape[1] < 2:
            continue
        means = table.mean() * (1 if metric in tables.HIGHER else -1)
        rival = str(means.idxmax())
        if means[rival] > means[winner]:
            found = decide.between(comparisons, winner, rival, str(metric)) if region == "brain" else Compared()
            apart = pd.Series(gap(table[winner].to_numpy(), table[rival].to_numpy())).mean()
            if found.decision == decide.SAME:
                continue
            decided = found.decision == decide.WORSE
            result.append(Loss(str(metric), str(region), rival, found if found.n else Compared(mean=apart), decided))
    order = list(tables.LABELS)
    return sorted(result, key=lambda loss: (loss.region != "brain", loss.region, tables.place(loss.metric, order)))


def _lost(winner: str, lost: list[Loss]) -> list[str]:
    """Where another method is better: decided losses by region and rival, the others named shortly and counted."""
    decided, open_ones = ([loss for loss in lost if loss.decided is sure] for sure in (True, False))
    within = f"another mean is better, undecided or not tested, by {_listed([_open(loss) for loss in open_ones])}."
    if not lost:
        return [f"{winner} has the best mean by every metric and in every region that was measured."]
    if not decided:
        return [f"{winner} loses nowhere for certain; {within}"]
    groups = {(loss.region, loss.rival): [x for x in decided if (x.region, x.rival) == (loss.region, loss.rival)]
              for loss in decided}  # fmt: skip
    named = [
        f"In {_place(region)} {rival} is better by {_listed([_size(part[0]), *map(_label, part[1:])])}."
        for (region, rival), part in groups.items()
    ]
    rest = f" So it is in {len(named) - SHOWN} more regions or against more methods." if len(named) > SHOWN else ""
    text = f"Where {winner} loses: in {' '.join(named[:SHOWN]).removeprefix('In ')}{rest}"
    return [text, within[:1].upper() + within[1:]] if open_ones else [text]


def _participants(psnr: pd.DataFrame, winner: str) -> list[str]:
    """Participants for whom another method reaches a higher PSNR."""
    both = psnr[psnr[winner].notna()]
    best = both.drop(columns=winner).idxmax(axis=1)
    lost = [name for name in both.index if both[winner][name] < both.drop(columns=winner).loc[name].max()]
    if not lost:
        return []
    named = ", ".join(f"{name} ({best[name]})" for name in lost[:SHOWN])
    rest = f" and {len(lost) - SHOWN} more" if len(lost) > SHOWN else ""
    return [f"Another method reaches a higher PSNR for {len(lost)} of {len(both)} test participants: {named}{rest}."]


def _listed(names: list[str]) -> str:
    """The first of them, and how many more there are."""
    rest = len(names) - SHOWN
    return "; ".join(names[:SHOWN]) + (f"; and {rest} more" if rest > 0 else "")


def _label(loss: Loss) -> str:
    return tables.LABELS.get(loss.metric, loss.metric).removesuffix(" (dB)")


def _place(region: str) -> str:
    return f"{'the ' if region in ('brain', 'volume') else ''}{tables.REGIONS.get(region, region)}"


def _open(loss: Loss) -> str:
    place = "" if loss.region == "brain" else f" in {_place(loss.region)}"
    return f"{_label(loss)}{place} ({loss.rival})"


def _size(loss: Loss) -> str:
    """A metric and by how much the rival is better, with its interval."""
    low, high = sorted(abs(x) for x in (loss.gap.low, loss.gap.high))
    kind = "" if loss.gap.alone else "adjusted "
    interval = f", {kind}95{NBSP}% CI {low:.3g} to {high:.3g}" if loss.gap.bounded else ""
    unit = KNOWN[loss.metric].unit if loss.metric in KNOWN else ""
    amount = f"{abs(loss.gap.mean):.3g}".replace("inf", "∞") + f"{f'{NBSP}{unit}' if unit in ('dB', '%') else ''}"
    return f"{_label(loss)} ({amount}{interval})"
