"""What made the results and what they cost; of studies and of applied models."""

import json
from typing import Any

import yaml

from upfield.report import costs
from upfield.report.context import Context
from upfield.report.sections import Section


def build(context: Context) -> dict[str, Any]:
    """Versions, digests of the models, run times, the configuration as YAML."""
    plain = json.loads(json.dumps(context.config, default=str))
    return {
        "provenance": context.provenance,
        "runs": context.runs,
        "benchmarks": context.benchmarks,
        "gpu_energy": costs.gpu_energy(context.runs) if context.trains else 0.0,
        "config_yaml": yaml.safe_dump(plain, sort_keys=False, allow_unicode=True),
    }


SECTION = Section(id="provenance", title="Provenance", order=1500, of=Context, build=build)
