"""Which files jobs read and write: functions of their wildcards, stage by stage."""

import functools

from snakemake.io import IOFile

# -- preprocess ------------------------------------------------------------------------------------------


def pair_images(scan):
    """Bias-corrected images and masks of a source scan, of any contrast, and of its target."""
    return native_pair(scan, STUDY.pair_of(scan).target)


def native_images(wildcards):
    """What puts a scan on the working grid: image, mask, target's mask, QC decision, a source's transform."""
    scan = scan_of(wildcards)
    target = STUDY.pair_of(scan).target
    inputs = {
        "image": PATHS("corrected", scan),
        "mask": PATHS("mask", scan),
        # Whose grid it is.
        "target_mask": STUDY.region(target) if STUDY.template is None else STUDY.template[1],
        "decision": decision(STUDY.decided(scan)),
        **moved_to_template(target, "to_template"),
        **head(scan),
    }
    return inputs | ({"transform": STUDY.transform(scan)} if scan.role == "source" else {})


# QC decisions that are only made again because of other limits, which leave the verdict as it is.
STANDING = set()


def decision(store):
    """The QC decision of a pair or scan, as the input of what follows from its verdict.

    Where the limits are other than when it was made and its verdict is the same, nothing follows: it is ancient.
    """
    path = PATHS("quality", store=store)
    if workflow.is_main_process and limits_changed(path) and STUDY.stands(store):
        STANDING.add(store)
        return ancient(path)
    return path


@functools.cache
def limits_changed(path):
    """Whether Snakemake remembers other limits of a QC decision than those of now."""
    remembered = workflow.persistence.params(IOFile(path)) if Path(path).is_file() else None
    return bool(remembered) and repr(config["qc"]["thresholds"]) not in remembered


# -- qc --------------------------------------------------------------------------------------------------


def registered_pair(wildcards):
    """A pair, and the transform that leads from its target to its source; or one scan, where there is no pair."""
    content = STUDY.contents[wildcards.store]
    files = native_pair(*content)
    if content.paired:
        files |= {"transform": STUDY.transform(content.source)}
        files |= moved_to_template(content.target, "template_mask", "to_template")
    return files


# -- patches ---------------------------------------------------------------------------------------------


def store_images(wildcards):
    """What a patch store is made from: a pair on one grid, or one scan."""
    content = STUDY.contents[wildcards.store]
    if not content.paired:
        (scan,) = content.scans
        image = STUDY.preprocessed(scan)
        return {"source": [image] if content.target is None else [], "mask": STUDY.region(scan)} | (
            {} if content.target is None else {"target": image}
        )
    return {
        "source": [PATHS("preprocessed", scan) for scan in STUDY.pair_of(content.source).sources],
        "target": PATHS("preprocessed", content.target),
        "mask": STUDY.region(content.target),
        **moved_to_template(content.target, "to_template"),
        **({} if STUDY.methods.redraw is None else {"anatomy": PATHS("corrected", content.target)}),
    }


def downsampled_images(wildcards):
    """Of a pair, for each scale of the study's methods, the source's contrasts on the grid coarsened by it."""
    content = STUDY.contents[wildcards.store]
    sources = STUDY.pair_of(content.source).sources if content.paired else []
    return [[STUDY.preprocessed(scan, scale) for scan in sources] for scale in STUDY.methods.scales]


# -- train -----------------------------------------------------------------------------------------------


def stores(*parts, role=None):
    return lambda wildcards: STUDY.stores(wildcards.fold, *parts, role=role)


def training_sidecars(wildcards):
    """What the training scans of a fold are like."""
    return [sidecar(STUDY.preprocessed(scan)) for scan in STUDY.training_scans(wildcards.fold, STUDY.index)]


def training_images(role):
    return lambda wildcards: [
        STUDY.preprocessed(scan) for scan in STUDY.training_scans(wildcards.fold, STUDY.index) if scan.role == role
    ]


def plans_foreseen():
    """A line for the plan of each method and fold: what it says, or what is known of it before it is made."""
    if STUDY.grid is not None:
        unit = "" if STUDY.grid.spacing == "native" else " mm"
        yield f"working grid: {STUDY.grid.spacing}{unit}: {STUDY.grid.because}"
    for method in STUDY.methods.planned:
        for fold in STUDY.folds.names:
            path = Path(PATHS("plan", method=method, fold=fold))
            if path.is_file():
                yield depth.read_summary(path)
                continue
            people = STUDY.folds.members(fold, "train")
            scan = STUDY.pairs[people[0]].target
            yield depth.foreseen(method, fold, len(people), PREPROCESS["region"], *STUDY.working_grid(scan))


def planned_grid():
    """The working grid as a parameter of plans, where it is planned: one more is a reason to plan and train again."""
    return {} if STUDY.grid is None else {"grid": asdict(STUDY.grid)}


def model_files(**names):
    """The files of a model, by the names of a training's outputs."""
    return {kind: PATHS(kind, **names) for kind in ("model", "card", "history")}


def pair_to_fit(pair):
    """The files of a pair, see `training.denoising.Pair`."""
    files = predicted_pair(pair.source) | {"mask": PATHS("mask", pair.target)}
    return {"participant": pair.participant, **files, "source_preprocessed": PATHS("preprocessed", pair.source)}


def pairs_to_fit(part):
    return lambda wildcards: [pair_to_fit(STUDY.pairs[name]) for name in STUDY.folds.members(wildcards.fold, part)]


def behind_denoise(wildcards):
    """Every file that denoising is tuned and fitted on, and the sidecars that exclude a pair."""
    pairs = [pair for part in ("train", "val") for pair in pairs_to_fit(part)(wildcards)]
    files = [path for pair in pairs for name, path in pair.items() if name != "participant"]
    return [*files, *(sidecar(path) for pair in pairs for name, path in pair.items() if name.endswith("_preprocessed"))]


def external_to_fit(pair, method):
    """The files of a pair and of what another program made of it, see `training.external.Pair`."""
    files, found = external_pair(pair.source, method), STUDY.methods.external[method]
    return {
        "participant": pair.participant,
        "output": files["external"],
        **{name: path for name, path in files.items() if name not in ("external", "source")},
        "source_preprocessed": PATHS("preprocessed", pair.source),
        "space": found.world,
        "normalization": config["preprocess"]["normalize"]["method"],
        "key": found.key,
    }


def external_pairs(part):
    """Those of a part of a fold who have an output of a method."""
    return lambda wildcards: [
        external_to_fit(STUDY.pairs[name], wildcards.method)
        for name in STUDY.folds.members(wildcards.fold, part)
        if STUDY.external(wildcards.method, name) is not None
    ]


def behind_external(wildcards):
    """Every file that a curve is fitted on, and the sidecars that exclude a pair."""
    pairs = [pair for part in ("train", "val") for pair in external_pairs(part)(wildcards)]
    said = ("participant", "space", "normalization", "key")
    files = [path for pair in pairs for name, path in pair.items() if name not in said]
    return [*files, *(sidecar(path) for pair in pairs for name, path in pair.items() if name.endswith("_preprocessed"))]


# -- predict ---------------------------------------------------------------------------------------------


def method_of(wildcards):
    return STUDY.methods.by_label[wildcards.label]


def models(kind):
    """Weights or cards of the models of a method that never saw this participant."""
    return lambda wildcards: STUDY.models(method_of(wildcards), scan_of(wildcards).participant)[kind]


def predicted_pair(scan):
    """What a prediction is made from: the native pair, its transform, and the numbers of its normalization."""
    target = STUDY.pair_of(scan).target
    return {
        "source": PATHS("corrected", scan),
        "target": PATHS("corrected", target),
        "transform": STUDY.transform(scan),
        "target_preprocessed": PATHS("preprocessed", target),
    }


def pair_judged_by(scan):
    """What excludes a pair: the sidecars of its preprocessed scans, of all contrasts."""
    pair = STUDY.pair_of(scan)
    return [sidecar(PATHS("preprocessed", one)) for one in (*pair.sources, pair.target)]


# Snakemake makes a prediction again if its inputs are others than last time, each as often. Some are there for that
# alone: steps do not read them.
def behind_interpolation(wildcards):
    target = STUDY.pair_of(scan_of(wildcards)).target
    return [PATHS("mask", target), *moved_to_template(target, "from_template").values()]


def behind_enhancement(wildcards):
    scan = scan_of(wildcards)
    return [PATHS("mask", scan), PATHS("mask", STUDY.pair_of(scan).target), PATHS("preprocessed", scan)]


def pair_to_interpolate(scan):
    return predicted_pair(scan) | {
        "source_mask": PATHS("mask", scan),
        "source_preprocessed": PATHS("preprocessed", scan),
    }


def pair_to_enhance(scan):
    return predicted_pair(scan) | moved_to_template(STUDY.pair_of(scan).target, "from_template")


def external_pair(scan, method):
    """A pair, and what another program made of its source."""
    return {
        **predicted_pair(scan),
        "external": STUDY.external(method, scan.participant),
        "source_mask": PATHS("mask", scan),
        "target_mask": PATHS("mask", STUDY.pair_of(scan).target),
    }


def labels(wanted):
    """Labels of the methods that are wanted, as a pattern."""
    return "|".join(name for name, method in STUDY.methods.by_label.items() if wanted(method)) or "none"


# -- evaluate --------------------------------------------------------------------------------------------


def case_of(participant, methods=None):
    """A participant as evaluation sees it, see `Case`: what methods made of a scan, and what it is compared with."""
    scans = STUDY.judged_scans(participant)
    reference, source = STUDY.reference(participant), STUDY.contents[participant].source
    found = STUDY.methods.names if methods is None else methods
    # Who is not tested has no output.
    found = [method for method in found if participant in STUDY.tested]
    return {
        "participant": participant,
        "fold": STUDY.tested.get(participant, ""),
        "seeds": STUDY.methods.all_seeds,
        "outputs": {method: STUDY.prediction(method, participant) for method in found},
        "uncertainties": {
            method: STUDY.uncertainty(method, participant) for method in STUDY.methods.uncertain if method in found
        },
        "reference": reference[0] if reference else None,
        "source": STUDY.preprocessed(source or scans[0]),
        "mask": PATHS("mask", scans[0]),
        "judged_by": STUDY.judged_by(participant),
        "suffix": scans[0].suffix,
    }


def files_of_case(case, uncertainties=False):
    """The files that must be there for a case to be measured against its reference."""
    return [
        *case["outputs"].values(),
        *(case["uncertainties"].values() if uncertainties else []),
        *([case["reference"]] if case["reference"] else []),
        case["mask"],
        *case["judged_by"],
    ]


def case(wildcards):
    return case_of(wildcards.participant)


def uncertain_case(wildcards):
    return case_of(wildcards.participant, STUDY.methods.uncertain)


def sampled_case(wildcards):
    samples = {method: STUDY.sample(method, wildcards.participant) for method in STUDY.methods.samplers}
    return case_of(wildcards.participant) | {"samples": samples}


def tissues_of(wildcards):
    return PATHS("tissues", STUDY.pairs[wildcards.participant].target)


def regions(wildcards):
    """Label images in whose regions metrics are measured, by name; maybe none."""
    files = {"tissues": tissues_of(wildcards)} if config["evaluate"]["regions"] else {}
    for atlas in STUDY.atlas(wildcards.participant):
        files["atlas"] = atlas
        if STUDY.template_atlas:
            files["from_template"] = STUDY.from_template(STUDY.pairs[wildcards.participant].target)
    return files


def lesion_case(wildcards):
    """A case without the outputs of other programs, which the lesion test does not run again."""
    return case_of(wildcards.participant, [*STUDY.methods.free, *STUDY.methods.networks])


def lesion_models(wildcards):
    """Weights of the models of every trained method, by method."""
    methods = [method for method in STUDY.methods.trained if method not in STUDY.methods.external]
    return {method: STUDY.models(method, wildcards.participant)["model"] for method in methods}


def lesion_inputs(wildcards):
    """The preprocessed source by network."""
    source = STUDY.pairs[wildcards.participant].source
    return {method: STUDY.network_input(source, method) for method in STUDY.methods.networks}


def lesion_pair(wildcards):
    """The pair as predictions see it, and the ways of what is put into the target's world."""
    pair = STUDY.pairs[wildcards.participant]
    files = pair_to_interpolate(pair.source) | {"inverse": STUDY.inverse(pair.source)}
    # The target is the reference of the case.
    del files["target"]
    return files | moved_to_template(pair.target, "to_template", "from_template")


# -- harmonize -------------------------------------------------------------------------------------------


def cohort_targets(participant, part):
    """The target's scans of a part (training or test) of the fold that a participant is tested in."""
    members = STUDY.folds.members(STUDY.folds.test_folds[participant], part)
    targets = [STUDY.contents[name].target for name in members]
    return [scan for scan in targets if scan is not None]


def test_targets(wildcards):
    return cohort_targets(wildcards.participant, "test")


def files_of_scan(wildcards):
    """The files that must be there for a case without a reference to be measured."""
    said = case(wildcards)
    return [*said["outputs"].values(), said["mask"], said["source"], *said["judged_by"]]


# -- as applied ------------------------------------------------------------------------------------------


def typical_of(wildcards):
    """What is known of targets where one is to be enhanced without: those of the fold's training."""
    return PATHS("typical", fold=STUDY.tested[scan_of(wildcards).participant])


def prepared_scan(wildcards):
    """A test participant's source as a method is shown it where there is no target, a file for each contrast."""
    return STUDY.prepared(scan_of(wildcards).participant, method_of(wildcards))


def applied_judged_by(wildcards):
    """What excludes an output as applied: what excludes the pair, and what the output is made from."""
    return [*pair_judged_by(scan_of(wildcards)), *map(sidecar, prepared_scan(wildcards))]


def applied_case(wildcards):
    """A participant's case with outputs as `snakemake apply` would deliver them, on the source's own grid."""
    participant = wildcards.participant
    said, methods = case_of(participant, []), STUDY.as_applied
    prepared = dict.fromkeys(str(sidecar(path)) for method in methods for path in STUDY.prepared(participant, method))
    return said | {
        "outputs": {method: STUDY.enhanced(method, participant) for method in methods},
        "judged_by": list(dict.fromkeys([*said["judged_by"], *prepared])),
        "transform": STUDY.transform(STUDY.contents[participant].source),
    }


# -- report ----------------------------------------------------------------------------------------------

# Test participants with images in the report.
SHOWN = [] if APPLYING else list(STUDY.tested)[: config["report"]["subjects"]]


def shown_files(participant):
    """The images of a test participant that the report shows: of every method, its uncertainty, target and mask."""
    reference = STUDY.reference(participant)
    return {
        "participant_id": participant,
        "outputs": {method: STUDY.prediction(method, participant) for method in STUDY.methods.names},
        "uncertainties": {method: STUDY.uncertainty(method, participant) for method in STUDY.methods.uncertain},
        "reference": reference[0] if reference else None,
        "mask": PATHS("mask", STUDY.judged_scans(participant)[0]),
    }


def files_of(shown):
    return [
        *shown["outputs"].values(),
        *shown["uncertainties"].values(),
        *([shown["reference"]] if shown["reference"] else []),
        shown["mask"],
    ]


# -- reading ---------------------------------------------------------------------------------------------


def shown_case(participant):
    """A case whose outputs are the images that readers see: those of methods, and the reference under its name."""
    said = case_of(participant)
    images = said["outputs"] | {TRUTH: said["reference"]}
    return said | {"outputs": {name: images[name] for name in READ}}


# -- apply -----------------------------------------------------------------------------------------------


def scan_alone(wildcards, *wanted):
    """A scan with bias corrected, its mask, and what is `wanted` of a template that the model works in, if any.

    Of a further contrast also the first, on whose grid it comes, and how.
    """
    scan = scan_of(wildcards)
    first = STUDY.contrasts(scan)[0]
    files = {"image": PATHS("corrected", scan), "mask": PATHS("mask", scan)}
    if first is not scan:
        files |= {"first": STUDY.region(first), "transform": STUDY.to_first(scan)}
    return files | head(scan) | moved_to_template(first, *wanted)


def head(scan):
    """The head of a scan, where more than its brain is enhanced."""
    return {"region": STUDY.region(scan)} if PREPROCESS["region"] == "head" else {}


def enhanced():
    """The scans that are enhanced, known once they have been screened."""
    table = read_tsv(checkpoints.screen.get().output.table)
    return [f"{ROOT}/{path}" for path in table["output"].dropna()]


# -- targets --------------------------------------------------------------------------------------------


def aside():
    """The table of what is put aside next."""
    taken = [int(name) for name in glob_wildcards(PATHS("aside")).turn if name.isdigit()]
    return PATHS("aside", turn=max(taken, default=0) + 1)


def model_to_apply(wildcards):
    what = "model is not set" if TRAINING_STUDY else "model is set with a target, which measures it"
    raise WorkflowError(f"config: {what}; apply needs model=<model folder> and bids_dir=<BIDS dataset>")


def no_maps(wildcards):
    raise WorkflowError("config: anatomy is not set; the target anatomy needs anatomy.labels, a folder of label maps")
