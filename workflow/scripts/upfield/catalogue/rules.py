"""Values checked against rules in the words of JSON Schema; what is wrong is said in one line."""

import difflib
import functools
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from upfield.errors import UpfieldError, printable

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

LONGEST = 300
# Characters of choices that are listed although it is plain what was meant.
SHORT = 120
# The types of JSON Schema in words.
TYPES = {
    "array": "a list such as [one, two]",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "null",
    "number": "a number",
    "object": "keys with values",
    "string": "a text",
}


def _whole(checker: Any, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _finite(checker: Any, value: Any) -> bool:
    return _whole(checker, value) or (isinstance(value, float) and math.isfinite(value))


@functools.cache
def _strict() -> Any:
    # Imported where it is used: training and prediction read files of methods, and check nothing.
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    # JSON Schema takes 4.0 for an integer, which `range` does not, and knows nothing of NaN, which passes every limit.
    types = Draft202012Validator.TYPE_CHECKER.redefine("integer", _whole).redefine("number", _finite)
    return extend(Draft202012Validator, type_checker=types)


def strict(rule: Mapping[str, Any]) -> Any:
    """A validator of JSON Schema for which 4.0 is no integer and NaN no number."""
    return _strict()(dict(rule))


def suits(rule: Mapping[str, Any], value: Any) -> bool:
    """Whether a value keeps a rule."""
    return bool(strict(rule).is_valid(value))


def filled(schema: Any, choices: Mapping[str, Iterable[str]]) -> Any:
    """A schema whose nodes with `choices: <name>` have the `enum` of that name; the code knows what there is."""
    if isinstance(schema, list):
        return [filled(node, choices) for node in schema]
    if not isinstance(schema, Mapping):
        return schema
    result = {key: filled(node, choices) for key, node in schema.items() if key != "choices"}
    return result | ({"enum": list(choices[schema["choices"]])} if isinstance(schema.get("choices"), str) else {})


def raise_first(errors: Iterable["ValidationError"], where: str) -> None:
    """Raise UpfieldError for the first of jsonschema's errors (shallowest path first), if there is one.

    `where` opens the message: a file, or `config`.
    """
    found = sorted(errors, key=lambda error: (len(error.absolute_path), str(error.absolute_path)))
    if found:
        raise UpfieldError(one_line(found[0], where))


def one_line(error: "ValidationError", where: str, prefix: str = "") -> str:
    """The key (under `prefix`), what was found and what was expected; a long one is cut."""
    return " ".join(_said(error, where, prefix).split())[:LONGEST]


def _said(error: "ValidationError", where: str, prefix: str) -> str:
    key = ".".join(shown(part) for part in (*prefix.split("."), *error.absolute_path) if part != "")
    if error.validator == "additionalProperties" and isinstance(error.instance, Mapping):
        known = list(error.schema.get("properties", {}))
        unknown = next(name for name in error.instance if name not in known)
        full = f"{key}.{shown(unknown)}" if key else shown(unknown)
        return f"{where}: {full} is not a known key{hint(unknown, known)}"
    if error.validator == "required":
        missing = next(name for name in error.validator_value if name not in error.instance)
        return f"{where}: {key}.{missing} is missing" if key else f"{where}: {missing} is missing"
    if (
        error.validator in ("enum", "pattern")
        and error.parent is None
        and "propertyNames" in error.absolute_schema_path
    ):
        known = [str(name) for name in error.schema.get("enum", ())]
        return f"{where}: {key}.{shown(error.instance)} is not a known key{hint(error.instance, known)}"
    found = repr(error.instance)
    found = found if len(found) <= 80 else f"{found[:77]}..."
    return f"{where}: {key or 'the file'} is {found}; {expected(error)}"


def expected(error: "ValidationError") -> str:
    """What a rule wants, as the end of a sentence; a rule may say it in its own words (`expected`)."""
    if isinstance(error.schema, Mapping) and "expected" in error.schema:
        return f"expected {error.schema['expected']}"
    limit = error.validator_value
    if error.validator == "enum":
        names = ", ".join(map(str, limit))
        meant = near(error.instance, [name for name in limit if isinstance(name, str)])
        known = f"expected one of {names}" if meant is None or len(names) <= SHORT else ""
        return "; ".join([*([known] if known else []), *([f"did you mean {meant}?"] if meant else [])])
    if error.validator == "anyOf" and error.context:
        return "expected " + " or ".join(expected(reason).removeprefix("expected ") for reason in error.context)
    words = {
        "const": lambda: f"{limit}",
        "type": lambda: " or ".join(TYPES[name] for name in ([limit] if isinstance(limit, str) else limit)),
        "minimum": lambda: f"at least {limit:g}",
        "maximum": lambda: f"at most {limit:g}",
        "exclusiveMinimum": lambda: f"more than {limit:g}",
        "exclusiveMaximum": lambda: f"less than {limit:g}",
        "minItems": lambda: f"at least {limit} {'value' if limit == 1 else 'values'}",
        "maxItems": lambda: f"at most {limit} values",
        "uniqueItems": lambda: "different values",
    }.get(str(error.validator))
    return f"expected {words()}" if words is not None else error.message


def shown(key: Any) -> str:
    """A key of any kind as a line can hold it: printable, at most 60 characters."""
    text = printable(str(key))
    return text if len(text) <= 60 else f"{text[:57]}..."


def hint(found: Any, known: list[str]) -> str:
    """What a user may have meant, as the end of a sentence; all that is known if nothing is near."""
    meant = near(found, known)
    return f"; did you mean {meant}?" if meant else f"; expected one of {', '.join(sorted(known))}"


def near(found: Any, known: Iterable[str]) -> str | None:
    """The known name that a user may have meant, if one is near."""
    # In letters of either case: some write STUDY, or UNet3D.
    names = {name.lower(): name for name in known}
    close = difflib.get_close_matches(shown(found).lower(), names, n=1)
    return names[close[0]] if close else None
