"""Tables of docs/results.md from finished studies: verdict, leaderboard, as applied, and whole volumes as others count.

python benchmarks/results.py results/demo results/64mt-to-3t                 # printed
python benchmarks/results.py results/* --write docs/results.md               # put where the page has a place for them

The page has a place for a study between `<!-- study: NAME -->` and `<!-- end -->`; NAME is that of the study's folder.
A study without a place is an error, a place without a study is left as it is.
"""

import argparse
import re
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from upfield.catalogue.methods import MODEL_FREE
from upfield.files import write_text
from upfield.report.context import StudyContext
from upfield.report.headline import NBSP
from upfield.report.sections import result
from upfield.study.designs.narrative import Narrative

PLACE = re.compile(r"(<!-- study: (\S+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
DIGITS = {"psnr": 2, "ssim": 3, "psnr_volume": 2, "ssim_volume": 3, "ulf_enc_score": 3}
# Head of the column, table, region, metric, and whether its interval is shown.
COLUMNS = (
    ("PSNR (dB)", "leaderboard", "brain", "psnr", True),
    ("SSIM", "leaderboard", "brain", "ssim", True),
    ("PSNR as applied", "as_applied_leaderboard", "brain", "psnr", False),
    ("SSIM as applied", "as_applied_leaderboard", "brain", "ssim", False),
    ("as others count: PSNR", "as_others_count_leaderboard", "volume", "psnr_volume", False),
    ("SSIM", "as_others_count_leaderboard", "volume", "ssim_volume", False),
    ("ULF-EnC", "as_others_count_leaderboard", "brain", "ulf_enc_score", False),
)


def section(root: Path) -> str:
    """Verdict and table of the finished study in a folder, in Markdown."""
    context = StudyContext(root, {}, {}, Narrative())
    if context.table["metrics/leaderboard"].empty:
        sys.exit(f"{root}: there is no metrics/leaderboard.tsv; name the folder of a study that has run")
    said = result.build(context)["headline"]
    verdict = " ".join(part for part in (f"**{said.answer}**", said.details) if part).replace(NBSP, " ")
    columns = [(head, column) for head, *column in COLUMNS if not _column(context, column).empty]
    lines = [f"| method | n | {' | '.join(head for head, _ in columns)} |", "|---" * (len(columns) + 2) + "|"]
    for method in context.methods:
        cells = [_cell(_column(context, column), method, column) for _, column in columns]
        n = _column(context, COLUMNS[0][1:])["n"].get(method)
        name = f"{method} (baseline)" if method in MODEL_FREE else method
        lines.append(f"| {name} | {n} | {' | '.join(cells)} |")
    return "\n".join([textwrap.fill(verdict, 120, break_long_words=False, break_on_hyphens=False), "", *lines])


def _column(context: StudyContext, column: Sequence[object]) -> pd.DataFrame:
    board, region, metric, _ = column
    # A score that nobody has, such as a challenge's that asks for more voxels, has no column.
    rows = context.table[f"metrics/{board}"].dropna(subset=["mean"])
    return rows[(rows["split"] == "test") & (rows["region"] == region) & (rows["metric"] == metric)].set_index("method")


def _cell(values: pd.DataFrame, method: str, column: Sequence[object]) -> str:
    _, _, metric, interval = column
    if method not in values.index:
        return ""
    row, digits = values.loc[method], DIGITS[str(metric)]
    shown = f"{row['mean']:.{digits}f}"
    known = interval and pd.notna(row.ci_low)
    return f"{shown} [{row.ci_low:.{digits}f}, {row.ci_high:.{digits}f}]" if known else shown


def written(page: str, sections: Mapping[str, str]) -> str:
    """The page with a study's section in each place that has one."""
    return PLACE.sub(lambda at: f"{at[1]}{sections.get(at[2], at[3].rstrip())}\n{at[4]}", page)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the sections, or write them into a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="+", type=Path, help="folders of finished studies")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="the page whose places are filled")
    given = parser.parse_args(arguments)
    sections = {root.name: section(root) for root in given.studies}
    if given.write is None:
        print("\n\n".join(f"## {name}\n\n{text}" for name, text in sections.items()))
        return
    page = given.write.read_text(encoding="utf-8")
    lost = sorted(sections.keys() - {name for _, name, *_ in PLACE.findall(page)})
    if lost:
        place = f"<!-- study: {lost[0]} --> and <!-- end -->"
        sys.exit(f"{given.write} has no place for {', '.join(lost)}; write {place} on lines of their own")
    write_text(given.write, written(page, sections))


if __name__ == "__main__":
    main()
