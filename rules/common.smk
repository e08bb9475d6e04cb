"""What several stages share: input functions and lists of methods."""

NETWORKS = [method for method in STUDY.trained if method not in MODEL_FREE]
INFERENCE = {
    **{key: config["predict"][key] for key in ("overlap", "tta")},
    **{key: config["train"][key] for key in ("device", "precision")},
}

# The jobs of a group may run side by side, but those that declare `in_turn` share one allocation one after the other.
# The profile says so to the process that submits them; jobs do not see what it was told.
if not workflow.is_main_process:
    workflow.register_resource("in_turn", 1)


def applied():
    """All that `snakemake apply` makes; rules/apply.smk says what, where there is a model to apply."""
    raise WorkflowError("config: model is not set; apply needs model=<model folder> and bids_dir=<BIDS dataset>")


def pair_images(scan):
    """Bias-corrected images and masks of a source scan, of any contrast, and of its target."""
    source = STUDY.scans[scan]
    target = STUDY.pair_of(source).target
    return {
        "source": STUDY.corrected(source),
        "source_mask": STUDY.mask(source),
        "target": STUDY.corrected(target),
        "target_mask": STUDY.mask(target),
    }


def registered_pair(wildcards):
    """A pair, and the transform that leads from its target to its source; or a scan of an unpaired study, alone."""
    source, target = STUDY.contents[wildcards.store]
    if source is not None and target is not None:
        pair = pair_images(source.name) | {"transform": STUDY.transform(source)}
        return pair | moved_to_template(target, "template_mask", "to_template")
    scan = source or target
    return {scan.role: STUDY.corrected(scan), f"{scan.role}_mask": STUDY.mask(scan)}


def native_images(wildcards):
    """What puts a scan on the working grid: image, mask, target's mask, verdict and, for a source, the transform."""
    scan = STUDY.scans[wildcards.scan]
    inputs = {
        "image": STUDY.corrected(scan),
        "mask": STUDY.mask(scan),
        # Whose grid it is.
        "target_mask": STUDY.mask(STUDY.pair_of(scan).target) if STUDY.template is None else STUDY.template[1],
        "verdict": STUDY.verdict(STUDY.pair_name(STUDY.pair_of(scan))),
        **moved_to_template(STUDY.pair_of(scan).target, "to_template"),
    }
    return inputs | ({"transform": STUDY.transform(scan)} if scan.role == "source" else {})


def moved_to_template(target, *wanted):
    """What of a template a job wants, by name: its brain mask, the transforms between it and a target; maybe nothing."""
    if STUDY.template is None:
        return {}
    every = {
        "template_mask": STUDY.template[1],
        "to_template": STUDY.to_template(target),
        "from_template": STUDY.from_template(target),
    }
    return {name: every[name] for name in wanted}


def stores(*parts, role=None):
    return lambda wildcards: STUDY.drawn(wildcards.fold, *parts, role=role)


def model_files(wildcards):
    """The models of a method that never saw this participant."""
    return model_paths(STUDY.labels[wildcards.label], STUDY.scans[wildcards.scan].participant)


def model_paths(method, participant):
    folders = STUDY.models(method, participant)
    return [f"{folder}/model.{extension}" for folder in folders for extension in ("safetensors", "json")]


def tested_fold(wildcards):
    return STUDY.tested[wildcards.participant]


def seeds(wildcards):
    return {method: STUDY.seeds(method) for method in STUDY.trained}


def pair_files(wildcards):
    return files_of(STUDY.scans[wildcards.scan])


def files_of(scan):
    """What a prediction is made from: the native pair and its transform, and the preprocessed pair."""
    pair = STUDY.pair_of(scan)
    return pair_images(scan.name) | {
        "transform": STUDY.transform(scan),
        "source_preproc": STUDY.on_pair(scan),
        "target_preproc": STUDY.on_pair(pair.target),
        **moved_to_template(pair.target, "from_template"),
        "sidecars": [
            sidecar(STUDY.on_pair(scan)),
            sidecar(STUDY.on_pair(pair.target)),
        ],
    }


def tested_images(wildcards):
    """What a test participant is judged by: every method's output, the target, its mask, and whether it is excluded."""
    pair = STUDY.pairs[wildcards.participant]
    return {
        "predictions": [STUDY.prediction(method, wildcards.participant) for method in STUDY.methods],
        "truth": STUDY.corrected(pair.target),
        "mask": STUDY.mask(pair.target),
        "sidecars": [sidecar(STUDY.preprocessed(scan)) for scan in (*pair.sources, pair.target)],
    }


def lesion_images(wildcards):
    """What the lesion test repeats: the pair as a prediction sees it, the models and inputs of all methods, outputs."""
    source = STUDY.pairs[wildcards.participant].source
    tested = tested_images(wildcards)
    return files_of(source) | {
        **moved_to_template(STUDY.pair_of(source).target, "to_template"),
        "inverse": STUDY.inverse(source),
        "sidecars": tested["sidecars"],
        "predictions": tested["predictions"],
        "network_inputs": [path for method in NETWORKS for path in STUDY.network_input(source, method)],
        "models": [path for method in STUDY.trained for path in model_paths(method, wildcards.participant)],
    }


def uncertain_images(wildcards):
    """What a test participant's uncertainty is judged by."""
    return tested_images(wildcards) | {
        "predictions": [STUDY.prediction(method, wildcards.participant) for method in STUDY.uncertain],
        "deviations": [STUDY.deviation(method, wildcards.participant) for method in STUDY.uncertain],
    }


def tissue_labels(wildcards):
    return STUDY.tissues(STUDY.pairs[wildcards.participant].target)


def labels(networks, spread=False):
    """Labels of the methods with or without a network, with or without a standard deviation, as a pattern."""
    wanted = [
        name
        for name, method in STUDY.labels.items()
        if (method in NETWORKS, method in STUDY.uncertain) == (networks, spread)
    ]
    return "|".join(wanted) or "none"


def store_images(wildcards):
    """What a patch store is made from: a pair on one grid, or the one scan of somebody in an unpaired study."""
    source, target = STUDY.contents[wildcards.store]
    if source is None:
        return {"source": [], "target": STUDY.preprocessed(target), "mask": STUDY.mask(target), "reduced": []}
    if target is None:
        return {"source": [STUDY.preprocessed(source)], "mask": STUDY.mask(source), "reduced": []}
    sources = STUDY.pair_of(source).sources
    return {
        "source": [STUDY.on_pair(scan) for scan in sources],
        "target": STUDY.on_pair(target),
        "mask": STUDY.mask(target),
        "reduced": [STUDY.on_pair(scan, scale) for scan in sources for scale in STUDY.scales],
        **moved_to_template(target, "to_template"),
    }


def size(wildcards):
    """What a job's memory and time grow with: its participant's largest image, or how many participants there are."""
    named = dict(wildcards.items())
    if "scan" in named:
        named["participant"] = STUDY.scans[named["scan"]].participant
    elif "number" in named:
        named["participant"] = f"sub-{named['number']}"
    elif "store" in named:
        named["participant"] = next(scan for scan in STUDY.contents[named["store"]] if scan is not None).participant
    return STUDY.megavoxels[named["participant"]] if "participant" in named else len(STUDY.megavoxels)


def memory(rule):
    return lambda wildcards, attempt: resources.memory(rule, size(wildcards), attempt)


def minutes(rule, repeats=lambda wildcards: 1):
    return lambda wildcards, attempt: resources.minutes(rule, repeats(wildcards) * size(wildcards), attempt)


def gpus(wildcards):
    """`auto` takes a GPU where there is one; a job that is submitted has none that it did not ask for."""
    device = config["train"]["device"]
    return int(device == "cuda" or (device == "auto" and workflow.non_local_exec))


def read_scans(participant):
    """The scan on whose grid images are shown, first, and what else may exclude the participant."""
    if STUDY.unpaired:
        return [STUDY.alone[participant]]
    return [STUDY.pairs[participant].target, STUDY.pairs[participant].source]


def read_image(name, participant):
    return STUDY.corrected(STUDY.pairs[participant].target) if name == TRUTH else STUDY.prediction(name, participant)
