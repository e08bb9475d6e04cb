"""What a run can be asked for: stages and rules by name, and files of the study."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from upfield.bids.layout import KINDS, TABLES, kind_of
from upfield.catalogue.rules import hint, near
from upfield.errors import UpfieldError
from upfield.study.scans import root_of

RULE = re.compile(r"^ *(?:rule|checkpoint) (\w+):", re.MULTILINE)


def check(targets: Iterable[str], workflow: Path, config: Mapping[str, Any]) -> None:
    """Raise UpfieldError, one line, for a target that is neither a rule of the `workflow` nor a file of the study.

    Files elsewhere, such as those of the phantom, are left to Snakemake.
    """
    stages = RULE.findall(workflow.read_text(encoding="utf-8"))
    others = [name for path in workflow.parent.glob("rules/*.smk") for name in RULE.findall(path.read_text())]
    root = Path(root_of(config))
    for target in targets:
        if target in stages or target in others:
            continue
        if "/" not in target and not Path(target).suffix:
            raise UpfieldError(f"{target} is no target{hint(target, stages)}")
        path = Path(target)
        if path.is_relative_to(root) and kind_of(path.relative_to(root).as_posix(), {}) is None:
            whole = [kind.template for kind in KINDS.values() if "{" not in kind.template]
            tables = [KINDS["table"].template.format(table=table) for table in TABLES]
            meant = near(path.relative_to(root).as_posix(), [*whole, *tables])
            advice = f"did you mean {root / meant}?" if meant else "docs/outputs.md lists those that there are"
            raise UpfieldError(f"{target} is no file of a study; {advice}")
