"""Every reason for refusal with the messages that the device's code gives and what a person can do.

Messages are read from the code itself, so the page cannot promise one that is not there. Where a message names what was
measured, the page has an ellipsis; limits stand as the code has them.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Final

import edge_agent
from edge_agent.vision.refusal import REASONS, Reason

REMEDIES: Final[Mapping[Reason, str]] = {
    "not_an_image": "Give it a JPEG or PNG file straight from a camera.",
    "too_large": "Photograph at a lower resolution: more than 100 pixels per well help nobody.",
    "truncated": "Copy the file again, or photograph again; look at the card if it comes back.",
    "too_small": "Move the camera closer, or use a higher resolution.",
    "too_dark": "Add light, or expose longer.",
    "too_bright": "Expose less, or move the lamp until no reflection lies on the wells.",
    "blurred": "Focus on the cells; hold plate and camera still, and parallel; take off what hides wells.",
    "hazy": "Clean the lens, wipe condensation off, take the lid off.",
    "covered": "Take away what lies over the plate: a hand, a card, a cable.",
    "no_plate": "Put the whole plate into the picture.",
    "several_plates": "Leave one plate in view.",
    "format_mismatch": "Choose the assay profile that the plate was made for, and show the whole plate.",
    "orientation_mismatch": "Turn the plate as the seat holds it, or correct the seat in the bench's settings.",
    "orientation_doubted": "Look where A1 is. Turn the plate, or correct the seat: its titres would be wrong.",
    "not_in_seat": "Push the plate into its holder; calibrate again if camera, holder or seat has changed.",
    "wrong_size": "Set the camera as it was when the bench was calibrated, or calibrate again.",
    "uncertain_lattice": "Photograph from straight above, with the whole plate in view and nothing else like wells.",
}


def refusal_messages() -> dict[Reason, list[str]]:
    """What the code can say, by reason, in the order of the reasons; each message once."""
    package = Path(edge_agent.__file__).parent
    found: dict[Reason, list[str]] = {reason: [] for reason in REASONS}
    for path in sorted(package.rglob("*.py")):
        name = ".".join((package.name, *path.relative_to(package).with_suffix("").parts))
        for reason, message in _refusals(ast.parse(path.read_text()), name):
            if message not in found[reason]:
                found[reason].append(message)
    return found


def refusals_table() -> str:
    """One line per reason: what it means, what the reader says, what to do."""
    rows = ["| reason | what the reader says | what to do |", "|---|---|---|"]
    for reason, messages in refusal_messages().items():
        said = "<br>".join(f"“{message}”" for message in messages)
        rows.append(f"| `{reason}`: {REASONS[reason]} | {said} | {REMEDIES[reason]} |")
    return "\n".join([*rows, ""])


def _refusals(tree: ast.Module, module_name: str) -> Iterator[tuple[Reason, str]]:
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Refused" and len(node.args) == 2):
            continue
        reason, message = node.args
        if isinstance(reason, ast.Constant) and reason.value in REASONS:
            yield reason.value, _text(message, importlib.import_module(module_name))


def _text(message: ast.expr, module: ModuleType) -> str:
    if isinstance(message, ast.Constant):
        return str(message.value)
    if isinstance(message, ast.JoinedStr):
        return "".join(_text(part, module) for part in message.values)
    if isinstance(message, ast.FormattedValue):
        return _limit(message, module)
    return "…"


def _limit(part: ast.FormattedValue, module: ModuleType) -> str:
    """A constant of the module as its message prints it; an ellipsis for what is only known when it happens."""
    value = part.value
    if isinstance(value, ast.Name) and value.id.isupper() and hasattr(module, value.id):
        spec = "" if part.format_spec is None else _text(part.format_spec, module)
        return format(getattr(module, value.id), spec)
    return "…"
