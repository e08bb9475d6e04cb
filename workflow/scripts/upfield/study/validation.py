"""A trained model measured on pairs that it has never seen: the study of `snakemake evaluate` with a `model`.

What the model card says decides how scans are prepared; the user says which model and which pairs, and how they are
registered, judged and measured. All of them are tested: nothing is split and nothing is trained.
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from upfield.bids import sidecar
from upfield.catalogue.methods import NEED_A_GRID
from upfield.catalogue.weights import keeps_contrast
from upfield.errors import UpfieldError
from upfield.files import merged, write_json, write_tsv
from upfield.foreign import read_object, warn
from upfield.predict import training_range
from upfield.preprocess import template
from upfield.preprocess.derivatives import why_excluded
from upfield.step import step
from upfield.study import anatomy, config, designs, places, requirements, seen
from upfield.study.application import COLUMNS, check_weights, contrasts_of, read_cards, warnings_of, without_effect
from upfield.study.cohort import Cohort
from upfield.study.methods import Methods

# What a user may say; everything else stands in the model card, or is of training.
OWN = ("model", "samples", "pairing", "simulate", "participants", "duplicates", "pair_per", "study", "output_dir",
       "site", "qc", "statistics", "report", "preprocess.registration", "predict.overlap", "predict.tta",
       "train.device", "train.precision", *(f"{side}.{key}" for side in ("source", "target")
                            for key in ("bids_dir", "entities", "metadata", "brain")), "source.channels",
       *(f"evaluate.{key}" for key in
         ("metrics", "lpips_weights", "regions", "atlas", "segmentation", "as_others_count", "audit",
          "seed")))  # fmt: skip
# Of a configuration, what a report of such a study shows.
BLOCKS = tuple(dict.fromkeys(key.split(".")[0] for key in (*OWN, "methods", "method_overrides")))
# In the place of a fold: who is tested is in none.
FOLD = "external"
# What stands in the log and the report if a card does not say all that its model has seen.
UNKNOWN = (
    "its card does not say all that it has seen, as cards of older versions do; whether it has seen participants who"
    " are measured here is not known"
)


def resolve(settings: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a run that measures `model`: what its cards say laid over `settings`.

    `given` holds what the user said, without the defaults. Raises UpfieldError as `application.resolve`.
    """
    config.check_schema(settings)
    other = without_effect(given, OWN)
    if other is not None:
        raise UpfieldError(
            f"config: {other} has no effect where model is measured on a target: its card decides that, or it is of"
            " training; take it out ('Measure a model on another dataset' in docs/guide.md lists what may be set)"
        )
    if not designs.of(settings).has_reference:
        raise UpfieldError(
            f"config: pairing is {settings['pairing']}, where no output has a target to be measured against; expected"
            " source and target of the same participants"
        )
    cards = read_cards(settings["model"])
    method = cards[0]["method"]
    channels = contrasts_of(cards[0], given)
    sides = {
        side: {
            **settings[side],
            "entities": merged({"suffix": cards[0]["domain"][side]["suffix"]}, given.get(side, {}).get("entities", {})),
        }
        for side in ("source", "target")
    }
    # Pairs are registered to be measured; the model has nothing to do with that.
    own = {"registration": settings["preprocess"]["registration"]}
    return {
        **settings,
        **sides,
        "source": {**sides["source"], "channels": channels},
        "study": settings["study"] if "study" in given else f"evaluate-{method}",
        "simulate": settings["simulate"] | (cards[0].get("simulate") or {}) | given.get("simulate", {}),
        "preprocess": merged(settings["preprocess"], cards[0]["preprocess"]) | own,
        "methods": [method],
        "method_overrides": {method: cards[0]["settings"]},
    }


class _Given(Methods):
    """A given method beside baselines without a network; `given` are the folders of models of those that have some."""

    def __init__(self, settings: Mapping[str, Any], fitted: Mapping[str, list[str]]) -> None:
        super().__init__(settings, uncertainty=False)
        self.given = {**fitted, settings["methods"][0]: config.folders_of(settings["model"])}

    def seeds(self, method: str) -> list[int]:
        """What the models were trained with, as their cards say."""
        return [read_object(f"{folder}/model.json").get("seed", "n/a") for folder in self.given.get(method, [])]


class Validation(Cohort):
    """Everything the rules ask for when a trained model is measured; `settings` are those that `resolve` returns."""

    methods: _Given

    def __init__(self, settings: Mapping[str, Any], rescan: bool = True) -> None:
        """Read the cards and index the datasets. Raises UpfieldError, also if the model has seen who is tested."""
        config.check(settings)
        places.check(settings)
        requirements.check_data(settings)
        anatomy.check(settings)
        template.check(settings)
        super().__init__(settings, designs.of(settings), rescan)
        self.folders = config.folders_of(settings["model"])
        self.cards = read_cards(settings["model"])
        self.keeps_contrast = keeps_contrast(self.cards[0])
        fitted = config.fitted_beside(settings["model"])
        self.methods = _Given(settings, {name: [folder] for name, folder in fitted.items()})
        self.training_range = training_range.joined([card["domain"] for card in self.cards])
        if rescan:
            for folder in self.folders:
                check_weights(folder)
            if not seen.complete(self.cards):
                warn(f"config: model is {', '.join(self.folders)}: {UNKNOWN}")
            seen.refuse(self.index.used, self.cards)

    @cached_property
    def tested(self) -> dict[str, str]:
        """Everybody who has a pair."""
        return dict.fromkeys(self.pairs, FOLD)

    @property
    def adds_change(self) -> bool:
        """What the model was trained on decides, not what it is measured on."""
        return designs.known()[self.cards[0]["pairing"]].adds_change

    def models(self, method: str, participant: str) -> dict[str, list[str]]:
        """The given models, and what was fitted with them, for all."""
        folders = self.methods.given.get(method, [])
        return {
            kind: [f"{folder}/{name}" for folder in folders]
            for kind, name in (("model", "model.safetensors"), ("card", "model.json"))
        }

    def delivered(self, method: str, participant: str) -> str:
        """What is moved to the target to be a method's prediction: its output as applied.

        An interpolation has none of its own: it moves the source, as `identity` delivers it, by another order.
        """
        return self.enhanced("identity" if method in NEED_A_GRID else method, participant)

    def judged_by(self, participant: str) -> list[str]:
        """Also the sidecars of the source as models are shown it."""
        alone = dict.fromkeys(path for method in self.methods.alone for path in self.prepared(participant, method))
        return [*super().judged_by(participant), *(str(sidecar(path)) for path in alone)]

    def screened(self) -> pd.DataFrame:
        """applied.tsv: every source, what sets it apart from the training scans, and whether it is enhanced.

        Reads the sidecars of `judged_by`, which must exist.
        """
        (method,) = self.methods.networks
        rows = []
        for participant, pair in self.pairs.items():
            shown = list(zip(pair.sources, self.prepared(participant, method), strict=True))
            reason = why_excluded(self.judged_by(participant))
            warnings = [] if reason else warnings_of(shown, self.training_range, self.keeps_contrast)
            output = None if reason else str(Path(self.enhanced(method, participant)).relative_to(self.root))
            scan = pair.source
            rows.append((participant, scan.session, scan.key, scan.path, "excluded" if reason else "applied",
                         "; ".join(warnings) or None, reason, output))  # fmt: skip
        return pd.DataFrame(rows, columns=list(COLUMNS))


@step(version=0, memory=(300, 0.2), minutes=(0.2, 0.02))
def targets_of_model(typical: str, config: Mapping[str, Any]) -> None:
    """Write what a model's training targets were like, as its cards say: `domain.target`, the mean over models."""
    write_json(typical, Validation(config, rescan=False).training_range["target"])


@step(version=0, memory=(300, 0.2), minutes=(0.2, 0.02))
def screen(table: str, config: Mapping[str, Any]) -> None:
    """Write applied.tsv. Raises UpfieldError if the model has seen an image that was not there at planning."""
    study = Validation(config, rescan=False)
    seen.refuse(study.described().used, study.cards)
    write_tsv(table, study.screened())
