"""What rules share: the frame around a step, what jobs ask for, and the files of a pair."""

# The jobs of a group may run side by side, but those that declare `in_turn` share one allocation one after the other.
# The profile says so to the process that submits them; jobs do not see what it was told.
if not workflow.is_main_process:
    workflow.register_resource("in_turn", 1)

# What the cluster allows; jobs take it from where the process that submitted them found it.
SITE = site.read(site.find(config["site"], os.environ, required=workflow.is_main_process))
if workflow.is_main_process and SITE.file is not None:
    # The Slurm plugin chooses partitions by the same file; jobs read it too.
    os.environ.setdefault(site.PARTITIONS_VARIABLE, str(SITE.file))
    os.environ[site.FILE_VARIABLE] = str(SITE.file)
# Minutes of a whole training. Where a site allows less in one job, it is cut into several: each stops in time and the
# next continues.
TRAINING = 1440
TRAIN = steps.declared("study.steps.train_model")
# A look at what the last attempts would ask for, if every one before them had run out of everything.
WORST_CASE = []


class step:
    """What every rule has around its step, the library function of this name.

    `at` is where its log and its benchmark are, with the rule's wildcards; `resources` are memory and minutes by the
    size of what it reads (`repeats` times as many minutes, or `minutes` whatever its size), the GPUs that `gpus` counts,
    and what the site asks of jobs of this `kind`; `threads` are the cores that it has use for; `params` tell the
    adapter which function to call, and Snakemake when its code has changed what it makes.
    """

    def __init__(self, name, at, repeats=lambda wildcards: 1, kind="other", gpus=None, minutes=None):
        self.declared = declared = steps.declared(name)
        self.log, self.benchmark = PATHS("log", job=at), PATHS("benchmark", job=at)
        self.kind, self.gpus, self.minutes, self.repeats = kind, gpus, minutes, repeats
        self.resources = {
            "mem_mb": lambda wildcards, attempt: self.mem_mb(wildcards, attempt),
            "runtime": lambda wildcards, attempt: self.runtime(wildcards, attempt),
            **SITE.resources(kind),
        }
        if gpus is not None:
            for resource in SITE.gpus(0):
                self.resources[resource] = lambda wildcards, of=resource: SITE.gpus(gpus(wildcards))[of]
        self.threads = declared.cores(config)
        # A param that is derived from outputs is no reason to run a job again.
        self.params = {"step": lambda wildcards, output: name}
        if declared.version:
            self.params["version"] = declared.version

    def mem_mb(self, wildcards, attempt):
        """MB to ask for: more after an attempt that ran out of it, and never more than a node has."""
        if not SITE.ask_memory:
            return 0
        asked = self.declared.mem_mb(size(wildcards))
        times = self.grown(wildcards, attempt, attempts.MEMORY)
        if times == 1:
            return asked
        return max(asked, self.at_most("mem_mb", wildcards, self.declared.mem_mb(size(wildcards), times)))

    def runtime(self, wildcards, attempt):
        """Minutes to ask for: more after an attempt that ran out of them, and never more than a partition allows."""
        if self.minutes is not None:
            return self.at_most("minutes", wildcards, self.minutes)
        size_of_all = self.repeats(wildcards) * size(wildcards)
        grown = self.declared.runtime(size_of_all, self.grown(wildcards, attempt, attempts.TIME))
        return self.at_most("minutes", wildcards, grown)

    def at_most(self, what, wildcards, wanted):
        """What is wanted, or the most that the site allows for one job of this kind."""
        gpus = 0 if self.gpus is None else self.gpus(wildcards)
        return int(min(wanted, SITE.most(self.kind, gpus, what)))

    def grown(self, wildcards, attempt, what):
        """The so-manieth time that a job asks for memory or time: 1, and 1 more for each time that it ran out."""
        if attempt == 1 or WORST_CASE:
            return attempt
        log = Path(str(self.log).format(**dict(wildcards.items())))
        why = slurm.ended if workflow.is_main_process and workflow.non_local_exec else None
        return 1 + attempts.ran_out(log, attempt, what, why)


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


def warning(minutes):
    """Ten minutes before its time limit, or a tenth of it, a training is told to write its checkpoint and end."""
    return f"'--signal=USR1@{min(600, 6 * minutes)}'"


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
