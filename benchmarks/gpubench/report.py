"""What the parts found: printed at once, kept as JSON and as a table of text."""

import json
import math
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Of a column; what is longer pushes the rest of its line to the right.
WIDEST = 60
VERDICTS = {True: "right", False: "WRONG", None: ""}


class Report:
    """`gpu.json` and `gpu.txt` in a folder, written anew, atomically, after every finding that may be the last."""

    def __init__(self, folder: Path, head: Mapping[str, Any], parts: Sequence[str]) -> None:
        self.folder = folder
        self.parts: dict[str, dict[str, Any]] = {name: {"status": "not run", "findings": []} for name in parts}
        self.content: dict[str, Any] = {**head, "parts": self.parts}
        self.started = time.monotonic()
        # The guard of the runner may write while the runner does.
        self.lock = threading.RLock()
        self.closed = False
        self._say(f"Upfield on {head['device']}, {head['minutes']:g} minutes; {head['form']}")
        self._write()

    @property
    def right(self) -> bool:
        """Whether every part ended by itself and found nothing wrong."""
        return all(
            part["status"] == "done" and all(finding["ok"] is not False for finding in part["findings"])
            for part in self.parts.values()
        )

    def begin(self, name: str, budget: float) -> None:
        """A part starts, with so many seconds."""
        self.parts[name]["status"] = "running"
        self._say(f"{name}: {max(budget, 0):.0f} s")

    def add(self, name: str, finding: Mapping[str, Any]) -> None:
        """A part has found something."""
        with self.lock:
            values = {key: _json(value) for key, value in finding["values"].items()}
            self.parts[name]["findings"].append({**finding, "values": values})
            self._write()
        verdict = VERDICTS[finding["ok"]]
        self._say(f"  {name}: {finding['what']}: {_values(finding['values'])}{'  ' if verdict else ''}{verdict}")

    def finish(
        self, name: str, status: str, seconds: float, error: str | None = None, trace: str | None = None
    ) -> None:
        """A part has ended: `done`, `failed`, `killed`, `died`, or there was `no time left` for it."""
        with self.lock:
            part = self.parts[name]
            part |= {"status": status, "seconds": round(seconds, 1)}
            if status != "done" and error is not None:
                part |= {"error": error, "traceback": trace}
            self._write()
        self._say(f"{name}: {status} after {seconds:.1f} s" + (f": {part['error']}" if "error" in part else ""))

    def close(self, seconds: float | None) -> None:
        """The run ends; None if it had to be cut off."""
        with self.lock:
            for part in self.parts.values():
                if part["status"] == "running":
                    part["status"] = "killed"
            self.content["seconds"] = None if seconds is None else round(seconds, 1)
            self.content["right"] = self.right
            self.closed = True
            self._write()
        print("\n" + self.table(), flush=True)

    def table(self) -> str:
        """All findings as text, one line each."""
        rows = [("part", "what", "found", "")]
        for name, part in self.parts.items():
            state = part["status"] + (f", {part['seconds']:.0f} s" if "seconds" in part else "")
            rows.append(
                (name, state, part.get("error", ""), "" if part["status"] == "done" else part["status"].upper())
            )
            rows += [("", f["what"], _values(f["values"]), VERDICTS[f["ok"]]) for f in part["findings"]]
        first, second = (min(max(len(row[column]) for row in rows), WIDEST) for column in (0, 1))
        lines = [f"{row[0]:<{first}}  {row[1]:<{second}}  {row[2]}{'  ' if row[3] else ''}{row[3]}" for row in rows]
        head = [f"{key}: {value}" for key, value in self.content.items() if key != "parts"]
        return "\n".join([*head, "", *(line.rstrip() for line in lines)]) + "\n"

    def _write(self) -> None:
        with self.lock:
            for name, text in (("gpu.json", json.dumps(self.content, indent=1)), ("gpu.txt", self.table())):
                temporary = self.folder / f".tmp-{os.getpid()}-{name}"
                temporary.write_text(text, encoding="utf-8")
                temporary.replace(self.folder / name)

    def _say(self, text: str) -> None:
        print(f"[{time.monotonic() - self.started:6.1f} s] {text}", flush=True)


def _json(value: Any) -> Any:
    """JSON knows no NaN and no infinity: they are kept as text."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _values(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {_plain(value)}" for key, value in values.items())


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_plain, value)) + "]"
    return str(value)
