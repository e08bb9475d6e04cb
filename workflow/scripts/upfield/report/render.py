"""Pages from templates: what every page has in it, and how values are written there."""

import base64
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from upfield.catalogue.methods import MODEL_FREE
from upfield.files import renamed
from upfield.report import sections, tables
from upfield.report.context import Context

HERE = Path(__file__).parent


def render(context: Context, *, title: str, over: str) -> str:
    """The page of a context: style, scripts, and every section that applies to it, in the navigation and as a body."""
    chosen = sections.found(context)
    folders = [HERE, *sections.folders()]
    environment = Environment(
        loader=FileSystemLoader(folders), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "uri": uri,
        "label": label,
        "number": number,
        "duration": _duration,
        "filled": tables.filled,
    }
    environment.globals |= {
        "kinds": {**tables.KINDS, **dict.fromkeys(context.external, "external")},
        "model_free": (*MODEL_FREE, tables.FEATURES_ONLY),
        "new_id": itertools.count().__next__,
    }
    parts = []
    for name, section in chosen.items():
        body = environment.get_template(f"{name}.html").render(section.build(context))
        parts.append({"id": section.id, "title": section.title, "heading": section.heading or section.title,
                      "body": Markup(body)})  # fmt: skip
    scripts = [HERE / "script.js", *(folder / f"{name}.js" for name in chosen for folder in sections.folders())]
    page = environment.get_template("page.html").render(
        title=title,
        over=over,
        study=context.config.get("study", "study"),
        provenance=context.provenance,
        sections=parts,
        css=_verbatim(HERE / "style.css"),
        script=Markup("").join(_verbatim(path) for path in scripts if path.is_file()),
    )
    # Sentences name files too, in which `&` and the like are written otherwise by now.
    return renamed(page, {str(escape(path)): str(escape(name)) for path, name in context.places.items()})


def inline(value: Any) -> str:
    """A configuration value on one line, nested mappings included, empty entries left out."""
    if isinstance(value, Mapping):
        kept = {k: v for k, v in value.items() if v not in (None, [], {})}
        return ", ".join(f"{k} {inline(v)}" for k, v in kept.items()) or "defaults"
    if isinstance(value, list | tuple):
        return ", ".join(map(inline, value))
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _verbatim(path: Path) -> Markup:
    """A file to be put into the page as it is."""
    return Markup(path.read_text(encoding="utf-8"))


def uri(picture: bytes) -> str:
    """PNG or WebP bytes as a data URI."""
    kind = "webp" if picture[8:12] == b"WEBP" else "png"
    return f"data:image/{kind};base64," + base64.b64encode(picture).decode()


def label(metric: str) -> str:
    """A metric as a column heading."""
    return tables.LABELS.get(metric, metric.replace("_", " "))


def number(value: Any, metric: str = "") -> str:
    """A number as text: two decimals for dB, three significant digits otherwise; n/a if there is none."""
    if value is None or pd.isna(value):
        return "n/a"
    if metric == "p":
        return "< 0.001" if value < 0.001 else f"{value:.3f}"
    plain = ",.0f" if abs(value) >= 1000 else "#.3g"
    fixed = {"psnr": ".2f", "ssim": ".4f", "ms_ssim": ".4f", "pearson": ".4f", "scanner_auc": ".2f",
             "ssim_source": ".3f", "gradient_correlation": ".3f", "tissue_dice": ".3f"}  # fmt: skip
    pattern = fixed.get(metric, plain)
    return f"{value:{pattern}}".rstrip(".").replace("-", "−").replace("inf", "∞")


def _duration(seconds: float | None) -> str:
    """Seconds as a reader says them."""
    if seconds is None or pd.isna(seconds):
        return "n/a"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
