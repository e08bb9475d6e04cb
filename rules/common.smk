"""What rules share: the frame around a step, what jobs ask for, and the files of a pair."""

# The jobs of a group may run side by side, but those that declare `in_turn` share one allocation one after the other.
# The profile says so to the process that submits them; jobs do not see what it was told.
if not workflow.is_main_process:
    workflow.register_resource("in_turn", 1)


class step:
    """What every rule has around its step, the library function of this name.

    `at` is where its log and its benchmark are, with the rule's wildcards; `resources` are memory and minutes by the
    size of what it reads (`repeats` times as many minutes); `params` tell the adapter which function to call, and
    Snakemake when its code has changed what it makes.
    """

    def __init__(self, name, at, repeats=lambda wildcards: 1):
        declared = steps.declared(name)
        self.log, self.benchmark = PATHS("log", job=at), PATHS("benchmark", job=at)
        self.resources = {
            "mem_mb": lambda wildcards, attempt: declared.mem_mb(size(wildcards), attempt),
            "runtime": lambda wildcards, attempt: declared.runtime(repeats(wildcards) * size(wildcards), attempt),
        }
        # A param that is derived from outputs is no reason to run a job again.
        self.params = {"step": lambda wildcards, output: name}
        if declared.version:
            self.params["version"] = declared.version


def size(wildcards):
    """What a job's memory and time grow with: its participant's largest image, or how many participants there are."""
    named = dict(wildcards.items())
    if "scan" in named:
        named["participant"] = STUDY.scans[named["scan"]].participant
    elif "number" in named:
        named["participant"] = f"sub-{named['number']}"
    elif "store" in named:
        named["participant"] = STUDY.contents[named["store"]].scans[0].participant
    return STUDY.megavoxels[named["participant"]] if "participant" in named else len(STUDY.megavoxels)


def gpus(wildcards):
    """`auto` takes a GPU where there is one; a job that is submitted has none that it did not ask for."""
    device = config["train"]["device"]
    return int(device == "cuda" or (device == "auto" and workflow.non_local_exec))


# How networks are run.
INFERENCE = {
    **{key: config["predict"][key] for key in ("overlap", "tta")},
    **{key: config["train"][key] for key in ("device", "precision")},
}


def scan_of(wildcards):
    return STUDY.scans[wildcards.scan]


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


def native_pair(source, target):
    """Bias-corrected images and masks of a pair, or of the one scan that is there."""
    files = {}
    for role, scan in (("source", source), ("target", target)):
        if scan is not None:
            files |= {role: PATHS("corrected", scan), f"{role}_mask": PATHS("mask", scan)}
    return files
