"""Methods text to paste into a paper, from the configuration and what was run, with its references as BibTeX."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from string import ascii_lowercase
from typing import Any

from upfield.catalogue.methods import MODEL_FREE

HERE = Path(__file__).parent
NETWORKS = {
    "unet3d": "a supervised 3-D U-Net [cicek2016]",
    "unet3d_patchgan": "a 3-D U-Net [cicek2016] with a PatchGAN discriminator [isola2017]",
    "lohiresgan": "a 2-D residual U-Net with a PatchGAN discriminator after LoHiResGAN [islam2023]",
    "srdcgan": "a 2-D super-resolution GAN",
    "srgan3d": "a 3-D super-resolution GAN [sanchez2018]",
    "cyclegan": "a 2-D CycleGAN [zhu2017]",
}
BRAINS = {
    "deepbet": "with deepbet{} [fisch2024]",
    "template": "by affine registration of a template [avants2011]",
    "synthstrip": "with SynthStrip [hoopes2022]",
    "hdbet": "with HD-BET [isensee2019]",
    "bet": "with BET [smith2002]",
    "mask": "with masks that came with the data",
}
REGISTRATIONS = {
    "rigid": "rigid transform",
    "affine": "affine transform",
    "syn": "affine transform, then SyN [avants2008]",
}
NORMALISATIONS = {
    "percentile": "0.5 and 99.5 percentile to 0 and 1",
    "minmax": "least and greatest value to 0 and 1",
    "zscore": "mean 0 and standard deviation 1",
    "whitestripe": "WhiteStripe [shinohara2014]",
    "nyul": "Nyúl's method [nyul1999], fitted on the training participants",
}


def section(
    config: Mapping[str, Any], provenance: Mapping[str, Any], methods: Iterable[str], harmonised: bool
) -> dict[str, str]:
    """`text`, paragraphs with citations by author and year, and `bibtex`, the entries that it cites, by key."""
    library = references((HERE / "references.bib").read_text(encoding="utf-8"))
    text = "\n\n".join(_paragraphs(config, provenance, list(methods), harmonised))
    cited = sorted({key for keys in re.findall(r"\[([a-z0-9, ]+)\]", text) for key in keys.split(", ")})
    labels = _labels({key: library[key] for key in cited})
    text = re.sub(r"\[([a-z0-9, ]+)\]", lambda m: f"({'; '.join(labels[key] for key in m[1].split(', '))})", text)
    return {"text": text, "bibtex": "\n".join(library[key] for key in cited)}


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
    config: Mapping[str, Any], provenance: Mapping[str, Any], methods: list[str], harmonised: bool
) -> Iterable[str]:
    prep, splits = config.get("preprocess", {}), config.get("splits", {})
    versions = provenance.get("versions", {})

    def version(name: str) -> str:
        return f" {versions[name]}" if name in versions else ""

    yield (
        "Scans were read as a BIDS dataset [gorgolewski2016] and processed with Upfield"
        f" {provenance.get('upfield', '')} (commit {provenance.get('git_commit', 'unknown')})"
        f" in Snakemake{version('snakemake')} [molder2021]."
        f"{_simulated(config)}"
    )
    steps = []
    extraction = prep.get("brain", {}).get("method")
    if extraction in BRAINS:
        steps.append(f"brains were extracted {BRAINS[extraction].format(version('deepbet'))}")
    if prep.get("n4"):
        steps.append(f"bias fields were corrected with N4 [tustison2010] (antspyx{version('antspyx')})")
    if prep.get("registration", {}).get("transform", "none") != "none" and config.get("pairing") != "unpaired":
        kind = REGISTRATIONS[prep["registration"]["transform"]]
        steps.append(f"each source was registered to its target with ANTs ({kind}) [avants2011]")
    template = prep.get("template", {})
    if template.get("name") or template.get("image"):
        name = f"{template['name']} from TemplateFlow [ciric2022]" if template["name"] else "a template"
        steps.append(f"targets were registered to {name} ({REGISTRATIONS[template['transform']]}) [avants2011]")
    spacing = prep.get("spacing")
    if spacing is not None:
        grid = "the target's own grid" if spacing == "native" else f"an isotropic grid of {spacing} mm"
        steps.append(f"images were resampled once, to {grid}")
    if prep.get("normalize", {}).get("method"):
        steps.append(f"intensities were normalised inside the brain ({NORMALISATIONS[prep['normalize']['method']]})")
    if steps:
        quality = " Scan quality was measured with metrics of MRIQC [esteban2017]." if config.get("qc") else ""
        yield f"{_sentence('; '.join(steps))}{quality}"
    networks = [name for name in methods if name not in MODEL_FREE and name != "combat"]
    if networks:
        listed = "; ".join(f"{NETWORKS.get(name, 'a network')} ({name})" for name in networks)
        train = config.get("train", {})
        length = f", for at most {train['epochs']} epochs" if "epochs" in train else ""
        seeds = f", with seed {' and '.join(map(str, train['seeds']))}" if train.get("seeds") else ""
        scheme = {"holdout": "a hold-out split", "kfold": f"{splits.get('folds')}-fold cross-validation"}
        split = f" Participants were divided by {scheme[splits['scheme']]}" if splits.get("scheme") in scheme else ""
        split += f" (seed {splits.get('seed', 'n/a')}); no participant is on two sides." if split else ""
        yield (
            f"We trained {listed} with PyTorch{version('torch')} [paszke2019]{length}{seeds}; the epoch with the best"
            f" validation was kept.{split}"
        )
        if config.get("predict", {}).get("uncertainty"):
            yield (
                "The standard deviation of a prediction is that over"
                f" {config['predict']['uncertainty']} samples with dropout [gal2016] and over seeds."
            )
    yield from _evaluation(config, methods, harmonised)


def _simulated(config: Mapping[str, Any]) -> str:
    if config.get("phantom") is not None:
        return " The data are a phantom; no person was scanned."
    if config.get("pairing") == "simulated":
        return f" Source images were simulated from the target images ({config['simulate']['kind']})."
    return ""


def _evaluation(config: Mapping[str, Any], methods: list[str], harmonised: bool) -> Iterable[str]:
    metrics = config.get("evaluate", {}).get("metrics", [])
    free = [name for name in methods if name in MODEL_FREE]
    if harmonised:
        yield (
            "Harmonisation was judged by how well a classifier tells the scanners apart from the appearance of the"
            " brain, by MMD and Wasserstein distances, and by the structure that each scan kept"
            f"{'; ComBat on features [fortin2018] is a baseline' if 'combat' in methods else ''}."
        )
    if metrics:
        learned = ["lpips"] if config["evaluate"].get("lpips_weights") else []
        cited = {"ssim": " [wang2004]", "lpips": " (VGG, axial slices) [zhang2018]"}
        shown = ", ".join(name + cited.get(name, "") for name in [*metrics, *learned])
        where = " and in tissue classes from Atropos [avants2011atropos]" if config["evaluate"].get("regions") else ""
        if config["evaluate"].get("atlas", {}).get("images"):
            where += " and in regions of a label image"
        against = f" Baselines without a network: {', '.join(free)}." if free else ""
        yield (
            f"Outputs were compared with the truth in 3-D inside its brain mask{where}, on its native grid: {shown}."
            f"{against} The participant is the unit: means have 95 % bootstrap intervals, and methods were compared by"
            " paired t and Wilcoxon signed-rank tests [wilcoxon1945], the latter with Holm's correction [holm1979]."
        )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."
