"""The answer to "did it work?" and the sentences that carry it.

What is better is decided in `metrics/comparisons.tsv`, by the rule of `evaluate.statistics.decide`; here it is put into
words, with the interval and p that stand there: an interval leaves 0 out exactly where its p is below 0.05.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from upfield.catalogue.methods import MODEL_FREE, SUPERVISED
from upfield.evaluate.metrics.registry import DIGITS, HIGHER, KNOWN, LABELS
from upfield.evaluate.statistics import decide, effect
from upfield.evaluate.statistics.compare import SMALLEST
from upfield.evaluate.statistics.decide import Compared

NBSP = "\N{NO-BREAK SPACE}"
SMALL = 10  # test subjects below which the headline asks for caution
POINTS = "Points to "


@dataclass(frozen=True)
class Headline:
    """An `answer` of one sentence, the `details` behind it, and what other models `add` to the supervised one.

    `add` is None where there is nothing to compare; `cautions` may be empty. `best` and `rival` are what the answer
    compares, empty where nothing is, and `state` what it amounts to: yes, no, same, open, or none where nothing was
    measured. It is `few` where so small a study can only point to it.
    """

    answer: str
    details: str
    add: str | None
    cautions: list[str]
    state: str = "none"
    best: str = ""
    rival: str = ""
    few: bool = False


def headline(scores: Mapping[str, pd.DataFrame], comparisons: pd.DataFrame, external: Collection[str] = ()) -> Headline:
    """The primary comparison, or the best network against the best model-free baseline; then the other models.

    `scores`: test values of the metric that decides, then of one more that is told beside it: participants in rows,
    methods in columns; the second may be empty. "Best" is by the mean of the first. `comparisons`, rows of
    `metrics/comparisons.tsv`, decide. `external` methods are none of the study's networks, and told beside them.
    """
    metric = next(iter(scores))
    values = scores[metric]
    means = values.mean().dropna().sort_values(ascending=metric not in HIGHER, kind="stable")
    if not len(means):
        nothing = f"The study holds no {metric_name(metric)} on a test split."
        return Headline("No verdict: nothing was measured.", nothing, None, [])
    free = [method for method in means.index if method in MODEL_FREE]
    networks = [method for method in means.index if method not in MODEL_FREE and method not in external]
    others = [method for method in means.index if method in external]
    method, rivals = decide.named(comparisons, metric)
    rivals = [name for name in means.index if name in rivals]
    named = method in means.index and bool(rivals)
    best, rival = (method, rivals[0]) if named else (next(iter(networks), ""), next(iter(free), ""))
    n = int(values[means.index[0]].count())
    models = [name for name in networks if name != SUPERVISED]
    add = None
    if models and SUPERVISED in networks and {best, rival} != {models[0], SUPERVISED}:
        judged = _judge(scores, comparisons, models[0], SUPERVISED)
        many = f" (the best of {len(models)} by {metric_name(metric)})" if len(models) > 1 else ""
        add = f"Do other models add anything to the supervised U-Net ({SUPERVISED})? {judged}{many}."
    if not named and (not networks or not free):
        missing, other = ("network", "model-free baselines") if not networks else ("baseline", "trained networks")
        return Headline(
            f"No verdict: there is no {missing} to compare with.",
            f"Only {other} were evaluated on the test split. The best is {_reached(scores, means.index[0])} "
            f"inside the brain ({_subjects(n)}).",
            add,
            [],
        )
    picked = len(networks) if not named else 1
    among = f", the best of {len(networks)} trained networks," if picked > 1 else ""
    beside = ", the best baseline without a network," if rival in MODEL_FREE and (not named or len(rivals) > 1) else ""
    details = [
        f"On the test split, inside the brain, {_reached(scores, best, among or ' ')}; "
        f"{_reached(scores, rival, beside or ' ')} ({_subjects(n)})."
    ]
    if named:
        details.append(_claim(metric, method, rivals, comparisons))
        if networks and networks[0] != best:
            details.append(f"Of the networks {_reached(scores, networks[0])} is the best.")
    if others and others[0] != best:
        many = f", the best of {len(others)} methods of others," if len(others) > 1 else ", a method of others,"
        details.append(f"Beside them {_reached(scores, others[0], many)}.")
    details += _reach(comparisons, metric, best, rival)
    answer = f"{_judge(scores, comparisons, best, rival)}."
    cautions = _cautions(n, picked)
    return Headline(answer, " ".join(details), add, cautions, state(answer), best, rival, answer.startswith(POINTS))


def _judge(scores: Mapping[str, pd.DataFrame], comparisons: pd.DataFrame, method: str, rival: str) -> str:
    """A word and the numbers behind it: "Yes: a improves on b by +2.00 dB PSNR (...) and SSIM +0.050 (...)"."""
    first, *others = scores
    gain = decide.between(comparisons, method, rival, first)
    if not gain.n:
        return f"Undecided: {method} and {rival} share no test subject"
    beside = {name: decide.between(comparisons, method, rival, name) for name in others if not scores[name].empty}
    beside = {name: found for name, found in beside.items() if found.n}
    words = {decide.BETTER: "yes", decide.UNDECIDED: "undecided", decide.WORSE: "no", decide.SAME: "the same"}
    # What was named before the run decides alone, unless something else that is decided speaks against it.
    heard = {name: found for name, found in beside.items() if not gain.primary or found.decision != decide.UNDECIDED}
    told = {gain.decision, *(found.decision for found in heard.values())}
    if gain.n < 2:
        word = "Undecided, one test subject is too few"
    elif len(told) == 1:
        shown = {decide.BETTER: "Yes", decide.WORSE: "No", decide.SAME: "The same"}
        word = pointed(shown.get(gain.decision, "Not shown to matter" if gain.small else "Not shown"), gain.n)
    else:
        mixed = {decide.BETTER, decide.WORSE} <= told
        word = f"{words[gain.decision]} by {metric_name(first)}{' and' if mixed else ','} " + ", ".join(
            f"{words[found.decision]} by {metric_name(name)}" for name, found in heard.items()
        )
        word = f"Mixed, {word}" if mixed else pointed(word[:1].upper() + word[1:], gain.n)
    verb = {
        decide.BETTER: f"{method} improves on {rival} by",
        decide.UNDECIDED: f"the mean of {method} differs from that of {rival} by",
        decide.WORSE: f"{method} does worse than {rival}:",
        decide.SAME: f"{method} is as good as {rival}, give or take what does not matter:",
    }[gain.decision]
    interval = f"{_kind(gain)} {bounds(gain, first)}" if gain.bounded else "no interval"
    text = f"{word}: {verb} {amount(gain.mean, first)} ({interval}, n{NBSP}={NBSP}{gain.n}{_p(gain)})"
    if gain.decision == decide.SAME or gain.small:
        text += f", where less than {level(gain.relevant, first)} is too small to matter,"
    for name, found in beside.items():
        within = f" ({_kind(found)} {bounds(found, name)}{_p(found)})" if found.bounded else ""
        text += f" and {metric_name(name)} {signed(found.mean, _digits(name))}{within}"
    return text.removesuffix(",")


def state(answer: str) -> str:
    """What an answer amounts to, see `Headline`."""
    said = answer.removeprefix(POINTS).lower().split(":")[0]
    return {"yes": "yes", "no": "no", "the same": "same", "no verdict": "none"}.get(said, "open")


def pointed(word: str, n: int) -> str:
    """A verdict, or how so few as `n` can only point to it."""
    clear = word.split()[0] in ("Yes", "No", "The")
    return f"{POINTS}{word[:1].lower()}{word[1:]}" if n < SMALL and clear else word


def _claim(metric: str, method: str, rivals: list[str], comparisons: pd.DataFrame) -> str:
    """What was named before the run, and whether the method is no worse where a margin was named too."""
    against = rivals[0] if len(rivals) == 1 else f"every one of {', '.join(rivals)}, corrected among themselves"
    text = f"Named before the run as what decides: {metric_name(metric)} of {method} against {against}."
    found = {rival: decide.between(comparisons, method, rival, metric).non_inferior for rival in rivals}
    shown = [f"to {rival}" for rival, said in found.items() if said == "shown"]
    if any(found.values()):
        text += f" Non-inferior by the margin that was named: {', '.join(shown) or 'not shown'}."
    return text


def _reach(comparisons: pd.DataFrame, metric: str, method: str, rival: str) -> list[str]:
    """What so many participants could show, and how many would be needed."""
    found = decide.between(comparisons, method, rival, metric)
    if not np.isfinite(found.detectable):
        return []
    text = (
        f"With n{NBSP}={NBSP}{found.n} and this spread of differences a paired t test shows a difference of"
        f" {amount(found.detectable, metric).lstrip('+')} or more with 80{NBSP}% power"
    )
    if found.needed >= effect.MOST:
        text += f"; for one as small as was observed it would take {effect.MOST:,} participants or more"
    elif np.isfinite(found.needed):
        text += f"; for one as large as was observed it would take {found.needed:.0f} participants"
    return [f"{text}."]


def _reached(scores: Mapping[str, pd.DataFrame], method: str, aside: str = "") -> str:
    """A method and its mean values."""
    (first, values), *others = scores.items()
    also = "".join(f" ({metric_name(name)} {table[method].mean():.3f})" for name, table in others if method in table)
    return f"{method}{aside.rstrip()} {'reaches ' if aside else 'at '}{level(values[method].mean(), first)}{also}"


def _cautions(n: int, networks: int) -> list[str]:
    """What weakens the answer."""
    result = []
    if n < SMALL:
        text = f"With {_subjects(n, '')} this is an indication, not a proof"
        if 1 < n < SMALLEST:
            text += ": so few cannot show that differences are normal, as the interval and its test take them to be"
        result.append(f"{text}.")
    if networks > 1:
        result.append(f"The network was picked among {networks} on these same subjects, which flatters it a little.")
    return result


def bounds(value: Compared, metric: str) -> str:
    """The bounds of a difference: "−0.30 to +1.90"."""
    return f"{signed(value.low, _digits(metric))} to {signed(value.high, _digits(metric))}"


def _kind(value: Compared) -> str:
    """What kind of interval it is."""
    return f"95{NBSP}% CI" if value.alone else f"adjusted 95{NBSP}% CI"


def _p(value: Compared) -> str:
    """The p that decided, as the end of a parenthesis; nothing where there was no test."""
    if np.isnan(value.p):
        return ""
    name = "p" if value.alone else "adjusted p"
    return f", {name}{NBSP}<{NBSP}0.001" if value.p < 0.001 else f", {name}{NBSP}={NBSP}{value.p:.2g}"


def metric_name(metric: str) -> str:
    """A metric in a sentence, without its unit."""
    return LABELS.get(metric, metric.replace("_", " ")).removesuffix(" (dB)")


def _digits(metric: str) -> int:
    return 3 if metric == "ssim" else min(DIGITS.get(metric, 3), 3)


def amount(value: float, metric: str) -> str:
    """A difference with its sign, unit and metric: "+2.00 dB PSNR"."""
    unit = KNOWN[metric].unit if metric in KNOWN else ""
    return f"{signed(value, _digits(metric))} {f'{unit} ' if unit in ('dB', '%') else ''}{metric_name(metric)}"


def level(value: float, metric: str) -> str:
    """A mean with its unit and metric: "23.10 dB PSNR"."""
    return amount(value, metric).removeprefix("+")


def signed(value: float, digits: int = 2) -> str:
    """A difference with its sign, which may be infinite; a word where infinite values cancel."""
    return "±∞" if np.isnan(value) else f"{value:+.{digits}f}".replace("-", "−").replace("inf", "∞")


def _subjects(n: int, prefix: str = f"n{NBSP}={NBSP}") -> str:
    return f"{prefix}{n} subject{'' if n == 1 else 's'}"
