"""Who wins, by how much, and where the winner loses: other metrics, other regions, single participants."""

from dataclasses import dataclass

import pandas as pd

from upfield.report import tables
from upfield.report.headline import NBSP, Difference, difference, mean_of
from upfield.statistics import subject_table

SHOWN = 6  # losses and participants named before the rest are counted


@dataclass(frozen=True)
class Loss:
    """Another method's better mean: `gap` is the winner minus that method, paired over participants."""

    metric: str
    region: str
    rival: str
    gap: Difference


def sentences(values: pd.DataFrame, psnr: pd.DataFrame) -> list[str]:
    """The winner by mean PSNR with its interval and its lead, and where it loses; nothing for fewer than two methods.

    `values` are rows of `metrics/per_subject.tsv`, `psnr` their test PSNR in the brain: participants x methods.
    """
    means = psnr.mean().dropna().sort_values(ascending=False, kind="stable")
    if len(means) < 2:
        return []
    winner, second = means.index[:2]
    reached, lead = mean_of(psnr[winner]), difference(psnr, winner, second)
    text = f"Winner by mean PSNR: {winner} with {reached.mean:.2f} dB"
    if reached.n > 1:
        text += f" (95{NBSP}% CI {reached.low:.2f} to {reached.high:.2f})"
    if lead is not None:
        shown = "" if lead.sign else ", not shown to differ"
        interval = f" (95{NBSP}% CI {_signed(lead.low)} to {_signed(lead.high)})" if lead.n > 1 else ""
        text += f", {_signed(lead.mean)} dB ahead of {second}, the next{interval}{shown}"
    return [f"{text}.", _lost(winner, losses(values, winner), values), *_people(psnr, winner)]


def losses(values: pd.DataFrame, winner: str) -> list[Loss]:
    """Every metric and region of the test split in which another method has the better mean, the whole brain first."""
    result = []
    chosen = values[(values.split == "test") & values.metric.isin([*tables.HIGHER, *tables.LOWER])]
    for (region, metric), part in chosen.groupby(["region", "metric"]):
        table = subject_table(part).dropna(axis=1, how="all")
        if winner not in table or table.shape[1] < 2:
            continue
        means = table.mean() * (1 if metric in tables.HIGHER else -1)
        rival = str(means.idxmax())
        gap = difference(table, winner, rival)
        if means[rival] > means[winner] and gap is not None:
            result.append(Loss(str(metric), str(region), rival, gap))
    order = list(tables.LABELS)
    return sorted(result, key=lambda loss: (loss.region != "brain", loss.region, tables.place(loss.metric, order)))


def _lost(winner: str, lost: list[Loss], values: pd.DataFrame) -> str:
    """Where another method is better, decided ones named and the others counted."""
    decided = [loss for loss in lost if loss.gap.sign]
    open_ones = len(lost) - len(decided)
    named = [f"{_name(loss)} ({loss.rival} is better by {_size(loss.gap)})" for loss in decided[:SHOWN]]
    rest = f" and {len(decided) - SHOWN} more" if len(decided) > SHOWN else ""
    count = f"{open_ones} other combination{'s' if open_ones != 1 else ''} of metric and region"
    if named:
        text = f"Where {winner} loses: {'; '.join(named)}{rest}."
        return f"{text} In {count} another mean is better, within the uncertainty." if open_ones else text
    if open_ones:
        few = ", ".join(_name(loss) for loss in lost[:SHOWN])
        more = f" and {open_ones - SHOWN} more" if open_ones > SHOWN else ""
        return f"{winner} loses nowhere for certain; another mean is better, within the uncertainty, by {few}{more}."
    return f"{winner} has the best mean by every metric and in every region that was measured."


def _people(psnr: pd.DataFrame, winner: str) -> list[str]:
    """Participants for whom another method reaches a higher PSNR."""
    both = psnr[psnr[winner].notna()]
    best = both.drop(columns=winner).idxmax(axis=1)
    lost = [person for person in both.index if both[winner][person] < both.drop(columns=winner).loc[person].max()]
    if not lost:
        return []
    named = ", ".join(f"{person} ({best[person]})" for person in lost[:SHOWN])
    rest = f" and {len(lost) - SHOWN} more" if len(lost) > SHOWN else ""
    return [f"Another method reaches a higher PSNR for {len(lost)} of {len(both)} test participants: {named}{rest}."]


def _name(loss: Loss) -> str:
    label, region = tables.LABELS.get(loss.metric, loss.metric), tables.REGIONS.get(loss.region, loss.region)
    return label if loss.region == "brain" else f"{label} in {region}"


def _size(gap: Difference) -> str:
    """By how much the rival is better, with its interval."""
    low, high = sorted(abs(x) for x in (gap.low, gap.high))
    return f"{abs(gap.mean):.3g}" + (f", {low:.3g} to {high:.3g}" if gap.n > 1 else "")


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")
