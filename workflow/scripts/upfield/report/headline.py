"""The answer to "did it work?" and the sentences that carry it.

What is better is decided in `metrics/comparisons.tsv`, by the rule of `evaluate.statistics.decide`; here it is put into
words. The intervals are for the eye.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from upfield.catalogue.methods import MODEL_FREE, SUPERVISED
from upfield.evaluate.statistics import decide, gap

NBSP = "\N{NO-BREAK SPACE}"
SMALL = 10  # test subjects below which the headline asks for caution


@dataclass(frozen=True)
class Headline:
    """An `answer` of one sentence, the `details` behind it, and what other models `add` to the supervised one.

    `add` is None where there is nothing to compare; `cautions` may be empty.
    """

    answer: str
    details: str
    add: str | None
    cautions: list[str]


@dataclass(frozen=True)
class Difference:
    """A paired difference over `n` subjects: its mean and 95 % t interval.

    NaN where n is too small or a value is infinite; `mean` where infinite values of both signs cancel.
    """

    n: int
    mean: float
    low: float
    high: float

    @property
    def bounded(self) -> bool:
        """Whether there is an interval."""
        return bool(np.isfinite(self.low))


def headline(psnr: pd.DataFrame, ssim: pd.DataFrame, comparisons: pd.DataFrame) -> Headline:
    """The best trained network against the best model-free baseline, and the other models against the U-Net.

    `psnr` and `ssim`: test values, participants in rows, methods in columns; `ssim` may be empty. "Best" is by mean
    PSNR. `comparisons`, rows of `metrics/comparisons.tsv`, decide by PSNR and by SSIM; where these disagree, the answer
    says so.
    """
    means = psnr.mean().dropna().sort_values(ascending=False, kind="stable")
    free = [method for method in means.index if method in MODEL_FREE]
    networks = [method for method in means.index if method not in MODEL_FREE]
    if not len(means):
        return Headline("No verdict: nothing was measured.", "The study holds no PSNR on a test split.", None, [])
    n = int(psnr[means.index[0]].count())
    models = [method for method in networks if method != SUPERVISED]
    add = None
    if models and SUPERVISED in networks:
        judged = _judge(psnr, ssim, comparisons, models[0], SUPERVISED)
        many = f" (the best of {len(models)} by PSNR)" if len(models) > 1 else ""
        add = f"Do other models add anything to the supervised U-Net ({SUPERVISED})? {judged}{many}."
    if not networks or not free:
        missing, other = ("network", "model-free baselines") if not networks else ("baseline", "trained networks")
        return Headline(
            f"No verdict: there is no {missing} to compare with.",
            f"Only {other} were evaluated on the test split. The best is {_reached(psnr, ssim, means.index[0])} "
            f"inside the brain ({_subjects(n)}).",
            add,
            [],
        )
    best, rival = networks[0], free[0]
    among = f", the best of {len(networks)} trained networks," if len(networks) > 1 else ""
    details = (
        f"On the test split, inside the brain, {_reached(psnr, ssim, best, among)}; "
        f"{_reached(psnr, ssim, rival, ', the best baseline without a network,')}."
    )
    return Headline(f"{_judge(psnr, ssim, comparisons, best, rival)}.", details, add, _cautions(n, len(networks)))


def difference(values: pd.DataFrame, method: str, rival: str) -> Difference | None:
    """`method` minus `rival` over the subjects that have both; None if no subject has."""
    if method not in values or rival not in values:
        return None
    paired = pd.Series(gap(values[method].to_numpy(), values[rival].to_numpy()), values.index).dropna()
    return mean_of(paired) if len(paired) else None


def mean_of(values: pd.Series) -> Difference:
    """The mean of at least one value and its 95 % t interval, NaN left out."""
    known = values.dropna()
    n = len(known)
    with np.errstate(invalid="ignore"):
        mean = float(known.mean())
    half = float(stats.t.ppf(0.975, n - 1) * known.sem()) if n > 1 and np.isfinite(mean) else np.nan
    return Difference(n, mean, mean - half, mean + half)


def _judge(psnr: pd.DataFrame, ssim: pd.DataFrame, comparisons: pd.DataFrame, method: str, rival: str) -> str:
    """A word and the numbers behind it: "Yes: a improves on b by +2.00 dB PSNR (...) and SSIM +0.050 (...)"."""
    gain, likeness = difference(psnr, method, rival), difference(ssim, method, rival)
    if gain is None:
        return f"Undecided: {method} and {rival} share no test subject"
    by_psnr, p_psnr = decide.between(comparisons, method, rival, "psnr")
    by_ssim, p_ssim = decide.between(comparisons, method, rival, "ssim") if likeness else (by_psnr, np.nan)
    if gain.n < 2:
        word = "Undecided, one test subject is too few"
    elif by_psnr == by_ssim:
        word = {decide.BETTER: "Yes", decide.UNDECIDED: "Not shown", decide.WORSE: "No"}[by_psnr]
    else:
        words = {decide.BETTER: "yes", decide.UNDECIDED: "undecided", decide.WORSE: "no"}
        mixed = decide.UNDECIDED not in (by_psnr, by_ssim)
        word = f"{words[by_psnr]} by PSNR{' and' if mixed else ','} {words[by_ssim]} by SSIM"
        word = f"Mixed, {word}" if mixed else word[:1].upper() + word[1:]
    verb = {
        decide.BETTER: f"{method} improves on {rival} by",
        decide.UNDECIDED: f"the mean of {method} differs from that of {rival} by",
        decide.WORSE: f"{method} does worse than {rival}:",
    }[by_psnr]
    interval = f"95{NBSP}% CI {_interval(gain, 2)}" if gain.bounded else "no interval"
    text = f"{word}: {verb} {signed(gain.mean, 2)} dB PSNR ({interval}, n{NBSP}={NBSP}{gain.n}{_p(p_psnr)})"
    if likeness:
        within = f" ({_interval(likeness, 3)}{_p(p_ssim)})" if likeness.bounded else ""
        text += f" and SSIM {signed(likeness.mean, 3)}{within}"
    return text


def _reached(psnr: pd.DataFrame, ssim: pd.DataFrame, method: str, aside: str = "") -> str:
    """A method and its mean values."""
    also = f" (SSIM {ssim[method].mean():.3f})" if method in ssim else ""
    return f"{method}{aside} {'reaches ' if aside else 'at '}{decibels(psnr[method].mean())} PSNR{also}"


def _cautions(n: int, networks: int) -> list[str]:
    """What weakens the answer."""
    result = []
    if n < SMALL:
        text = f"With {_subjects(n, '')} this is an indication, not a proof"
        floor = 2 / 2**n  # the smallest two-sided p of the signed-rank test
        if 0.05 < floor < 1:
            text += f": the rank test of the comparisons cannot fall below p{NBSP}={NBSP}{floor:.2g}"
        result.append(f"{text}.")
    if networks > 1:
        result.append(f"The network was picked among {networks} on these same subjects, which flatters it a little.")
    return result


def _interval(value: Difference, digits: int) -> str:
    return f"{signed(value.low, digits)} to {signed(value.high, digits)}"


def _p(value: float) -> str:
    """An adjusted p as the end of a parenthesis; nothing where there was no test."""
    if np.isnan(value):
        return ""
    return f", adjusted p{NBSP}<{NBSP}0.001" if value < 0.001 else f", adjusted p{NBSP}={NBSP}{value:.2g}"


def decibels(value: float) -> str:
    """A level in dB, which may be infinite."""
    return f"{value:.2f} dB".replace("-", "−").replace("inf", "∞")


def signed(value: float, digits: int = 2) -> str:
    """A difference with its sign, which may be infinite; a word where infinite values cancel."""
    return "±∞" if np.isnan(value) else f"{value:+.{digits}f}".replace("-", "−").replace("inf", "∞")


def _subjects(n: int, prefix: str = f"n{NBSP}={NBSP}") -> str:
    return f"{prefix}{n} subject{'' if n == 1 else 's'}"
