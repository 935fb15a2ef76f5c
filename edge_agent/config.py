"""`agent.toml` + environment → frozen `Config`, once. Nothing else in the agent reads the environment.

Every field describes itself; the example file is generated from here, and a key that does not exist is an error that
names the nearest one that does.
"""

import os
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_type_hints

import msgspec
from msgspec import Meta

from protocol.plate import Seat, parse_seat
from protocol.profiles import profile_named

PREFIX: Final = "WELLREAD_AGENT_"
CONFIG_FILE: Final = Path("/etc/wellread/agent.toml")
SHIPPED_MODEL: Final = Path(__file__).parents[1] / "models" / "hi-wells-v3"


class CameraConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where photographs come from."""

    kind: Annotated[
        Literal["folder", "opencv", "picamera2"],
        Meta(description="folder: a directory of photographs; opencv: USB or GStreamer; picamera2: Raspberry Pi."),
    ] = "folder"
    folder: Annotated[Path, Meta(description="folder: the directory that is read, in the order of names.")] = Path(
        "photographs"
    )
    watch: Annotated[bool, Meta(description="folder: also read files that arrive later.")] = True
    device: Annotated[
        str, Meta(description="opencv: a number, a path such as /dev/video0, or a GStreamer pipeline.")
    ] = "0"
    width: Annotated[int, Meta(description="Width of a photograph in pixels (opencv, picamera2).", ge=64)] = 2028
    height: Annotated[int, Meta(description="Height of a photograph in pixels (opencv, picamera2).", ge=64)] = 1520
    interval_s: Annotated[
        float,
        Meta(description="opencv, picamera2: seconds from one photograph to the next; 0: only on signal USR1.", ge=0),
    ] = 0.0
    exposure_us: Annotated[int, Meta(description="picamera2: exposure time in microseconds, locked.", ge=1)] = 10000
    gain: Annotated[float, Meta(description="picamera2: analogue gain, locked.", ge=1)] = 1.0
    colour_gains: Annotated[
        tuple[float, float], Meta(description="picamera2: gains of red and blue, locked white balance.")
    ] = (2.0, 1.8)
    lens_position: Annotated[
        float,
        Meta(description="picamera2: focus in dioptres (1 / metres), locked; negative: the lens has no motor.", ge=-1),
    ] = -1.0


class CentralConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where results go. Access to the broker is not set here: it comes from `wellread-agent enrol`."""

    url: Annotated[str, Meta(description="Address of central; empty: the one given to `wellread-agent enrol`.")] = ""


class KeepConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long the reader keeps what central already has. What central lacks is never removed."""

    days: Annotated[int, Meta(description="Days that accepted readings and their pictures stay here.", ge=0)] = 35
    pictures_mb: Annotated[
        int, Meta(description="Megabytes of pictures; above it the oldest that central has go first.", ge=0)
    ] = 8000
    outbox_mb: Annotated[
        int, Meta(description="Megabytes of readings; above it the oldest that central has go first.", ge=0)
    ] = 2000
    refused: Annotated[int, Meta(description="How many refused photographs are kept for a person to see.", ge=0)] = 200
    free_mb: Annotated[
        int, Meta(description="Below so many megabytes of free disk nothing is photographed; sending goes on.", ge=0)
    ] = 256


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How this reader runs. The environment sets fields too: WELLREAD_AGENT_SEAT, WELLREAD_AGENT_CAMERA__KIND."""

    state_dir: Annotated[
        Path, Meta(description="Folder of everything that must survive: outbox, pictures, enrolment.")
    ] = Path("wellread-agent-state")
    seat: Annotated[
        str,
        Meta(
            description="Corner of the picture where the bench's holder puts A1: top-left, top-right, bottom-right, "
            "bottom-left; unknown: nobody knows."
        ),
    ] = "top-left"
    profile: Annotated[str, Meta(description="Assay profile that plates are read with.")] = "hi-96"
    model_dir: Annotated[
        str, Meta(description="Folder of the model release; empty: the one shipped with the agent.")
    ] = ""
    threads: Annotated[int, Meta(description="Processor cores that the model may use.", ge=1, le=64)] = 2
    camera: CameraConfig = CameraConfig()
    central: CentralConfig = CentralConfig()
    keep: KeepConfig = KeepConfig()

    @property
    def parsed_seat(self) -> Seat | None:
        """Where A1 is; None if nobody knows."""
        return parse_seat(self.seat)

    @property
    def model_folder(self) -> Path:
        """Folder of the model release in force."""
        return Path(self.model_dir) if self.model_dir else SHIPPED_MODEL


def load_config(
    path: Path | None, environment: Mapping[str, str] | None = None, overrides: Mapping[str, Any] | None = None
) -> Config:
    """The configuration from a file, the environment over it, `overrides` over both.

    Without a path the file is the one that WELLREAD_AGENT_CONFIG names, or else the system's, if there is one.
    `overrides` are dotted names, as `camera.folder`. A ValueError names the file or variable, the key and what was
    expected.
    """
    source = os.environ if environment is None else environment
    named = source.get(f"{PREFIX}CONFIG")
    path = path or (Path(named) if named else CONFIG_FILE if CONFIG_FILE.is_file() else None)
    values = _read_file(path) if path is not None else {}
    for name, text in source.items():
        if name.startswith(PREFIX) and name != f"{PREFIX}CONFIG":
            _set(values, name[len(PREFIX) :].lower().split("__"), text, where=name)
    for dotted, value in (overrides or {}).items():
        _set(values, dotted.split("."), value, where=dotted)
    return _convert(values)


def example_toml() -> str:
    """`agent.toml` with every key, what it means and its default; each line commented out."""
    lines = [
        "# Configuration of a Wellread reader. Generated from edge_agent/config.py; every line shows a default.",
        "# Each key can also be set in the environment: WELLREAD_AGENT_SEAT, WELLREAD_AGENT_CAMERA__KIND.",
    ]
    sections = [("", Config), *((name, kind) for name, kind in _fields(Config) if _is_section(kind))]
    for section, struct in sections:
        if section:
            lines += ["", f"# {_first_line(struct)}", f"[{section}]"]
        for field in msgspec.structs.fields(struct):
            if not _is_section(_bare(struct, field.name)):
                lines += ["", f"# {_description(struct, field.name)}", f"#{field.name} = {_toml(field.default)}"]
    return "\n".join(lines) + "\n"


def _read_file(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not TOML: {error}") from error
    _check_keys(values, Config, (), where=str(path))
    return values


def _check_keys(values: Mapping[str, Any], struct: type[msgspec.Struct], path: tuple[str, ...], where: str) -> None:
    known = dict(_fields(struct))
    for name, value in values.items():
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = (
                f" (did you mean {'.'.join((*path, near[0]))}?)" if near else f" (expected one of {', '.join(known)})"
            )
            raise ValueError(f"{where}: unknown key {'.'.join((*path, name))}{hint}")
        if _is_section(known[name]):
            if not isinstance(value, Mapping):
                raise ValueError(f"{where}: {'.'.join((*path, name))} is {value!r} (expected a table of keys)")
            _check_keys(value, known[name], (*path, name), where)


def _set(values: dict[str, Any], path: list[str], value: Any, where: str) -> None:
    nested: Any = value
    for name in reversed(path):
        nested = {name: nested}
    _check_keys(nested, Config, (), where)
    for name in path[:-1]:
        values = values.setdefault(name, {})
    values[path[-1]] = value


def _convert(values: dict[str, Any]) -> Config:
    try:
        config = msgspec.convert(values, Config, strict=False, dec_hook=lambda kind, value: kind(value))
        profile_named(config.profile)
        parse_seat(config.seat)
    except (KeyError, ValueError) as error:
        raise ValueError(f"bad configuration: {error.args[0]}") from error
    return config


def _fields(struct: type[msgspec.Struct]) -> Iterator[tuple[str, Any]]:
    for name in struct.__struct_fields__:
        yield name, _bare(struct, name)


def _bare(struct: type[msgspec.Struct], name: str) -> Any:
    return get_type_hints(struct)[name]


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _description(struct: type[msgspec.Struct], name: str) -> str:
    (meta,) = get_type_hints(struct, include_extras=True)[name].__metadata__
    return str(meta.description)


def _first_line(struct: type[msgspec.Struct]) -> str:
    return (struct.__doc__ or "").splitlines()[0]


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"' if isinstance(value, str | Path) else str(value)
