"""Methods text to paste into a paper, from the configuration and what was run, with its references as BibTeX."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import ascii_lowercase
from typing import Any

from upfield.catalogue.methods import MODEL_FREE, facts
from upfield.errors import UpfieldError
from upfield.evaluate import tables
from upfield.image import intensity
from upfield.predict import said as predictions
from upfield.preprocess import bias, grid, registration, template
from upfield.preprocess.brain import said as brain
from upfield.quality import scan
from upfield.study import external, splits
from upfield.study.config import method_settings
from upfield.study.designs.narrative import Narrative
from upfield.training import said as training

HERE = Path(__file__).parent
# What may have to be said, in the order of the flow: paragraphs of sentences of clauses. Each module has a
# `methods_sentence(config, versions)`, which is empty where nothing was done.
PREPARED = (
    (brain, bias, registration, template, grid, intensity),
    (scan,),
)


def written(
    config: Mapping[str, Any], provenance: Mapping[str, Any], methods: Sequence[str], narrative: Narrative
) -> dict[str, str]:
    """`text`, paragraphs with citations by author and year, and `bibtex`, the entries that it cites, by key."""
    library = references((HERE / "references.bib").read_text(encoding="utf-8"))
    text = "\n\n".join(filter(None, _paragraphs(config, provenance, methods, narrative)))
    cited = sorted({key for keys in re.findall(r"\[([a-z0-9, ]+)\]", text) for key in keys.split(", ")})
    labels = _labels({key: library[key] for key in cited})
    text = re.sub(r"\[([a-z0-9, ]+)\]", lambda m: f"({'; '.join(labels[key] for key in m[1].split(', '))})", text)
    return {"text": text, "bibtex": "\n".join(library[key] for key in cited)}


def says(method: str) -> str:
    """What a method's file says it is; "a network" of one that says nothing, or is not here any more."""
    try:
        return facts(method).says or "a network"
    except UpfieldError:
        return "a network"


def references(bibtex: str) -> dict[str, str]:
    """Entries of a BibTeX file by their key; each begins with @ at the start of a line."""
    return {re.match(r"@\w+\{(\w+),", entry)[1]: entry.strip() for entry in re.split(r"^(?=@)", bibtex, flags=re.M)[1:]}  # type: ignore[index]


def label(entry: str) -> str:
    """Author and year of a BibTeX entry: "Holm, 1979"; "Gal and Ghahramani, 2016"; "Islam et al., 2023"."""
    names = re.search(r"author = \{(.+?)\},\n", entry)[1].split(" and ")  # type: ignore[index]
    family = [_plain(name.split(",")[0]) for name in names]
    who = " and ".join(family) if len(family) < 3 else f"{family[0]} et al."
    year = re.search(r"year = \{(\d+)", entry)[1]  # type: ignore[index]
    return f"{who}, {year}"


def _labels(entries: Mapping[str, str]) -> dict[str, str]:
    """Labels by key; those that would be equal get a letter: "Avants et al., 2011a"."""
    plain = {key: label(entry) for key, entry in entries.items()}
    same = {text: [key for key in plain if plain[key] == text] for text in plain.values()}
    return {
        key: text + (ascii_lowercase[same[text].index(key)] if len(same[text]) > 1 else "")
        for key, text in plain.items()
    }


def _plain(latex: str) -> str:
    """A name without LaTeX's accents as commands."""
    letters = {r"{\"o}": "ö", r"{\"i}": "ï", r"{\'a}": "á", r"{\'u}": "ú", r"{\c{C}}": "Ç", r"{\c{c}}": "ç"}
    for command, letter in letters.items():
        latex = latex.replace(command, letter)
    return latex


def _paragraphs(
    config: Mapping[str, Any], provenance: Mapping[str, Any], methods: Sequence[str], narrative: Narrative
) -> Iterable[str]:
    versions = provenance.get("versions", {})
    snakemake = f" {versions['snakemake']}" if "snakemake" in versions else ""
    yield _joined(
        "Scans were read as a BIDS dataset [gorgolewski2016] and processed with Upfield"
        f" {provenance.get('upfield', '')} (commit {provenance.get('git_commit', 'unknown')})"
        f" in Snakemake{snakemake} [molder2021].",
        narrative.source,
    )
    prepared = [
        "; ".join(
            filter(None, (module.methods_sentence(config, versions) for module in modules if _ran(module, narrative)))
        )
        for modules in PREPARED
    ]
    yield _joined(*map(_sentence, prepared)) if prepared[0] else ""
    others = {*MODEL_FREE, "combat", *external.of(config)}
    trained = [name for name in methods if name not in others]
    networks = [f"{says(name)} ({name})" for name in trained]
    if narrative.trained:
        yield _joined(*map(_sentence, narrative.trained))
    elif networks:
        known = {"method_overrides": {}, **config}
        last = [name for name in trained if method_settings(known, name).get("keep_last", False)]
        learned = training.methods_sentence(config, versions, networks, last)
        yield _joined(_sentence(learned), _sentence(splits.methods_sentence(config, versions)))
        yield _sentence(predictions.methods_sentence(config, versions))
    evaluation = [clause for clause in narrative.evaluation if clause]
    if evaluation:
        free = ", ".join(name for name in methods if name in MODEL_FREE)
        against = f"baselines without a network: {free}" if free else ""
        beside = external.methods_sentence(config, versions)
        yield _joined(*map(_sentence, [*evaluation, against, beside, tables.methods_sentence(config, versions)]))


def _ran(module: Any, narrative: Narrative) -> bool:
    """Whether the design of the study has this step at all."""
    return module.__name__.removeprefix("upfield.") not in narrative.skipped


def _sentence(clause: str) -> str:
    return f"{clause[:1].upper()}{clause[1:]}." if clause else ""


def _joined(*sentences: str) -> str:
    return " ".join(filter(None, sentences))
