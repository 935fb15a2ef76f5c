"""A reader whose configuration or model is wrong: it photographs nothing, says what is wrong, and goes on sending.

What a bench has read belongs to people who wait for it, whoever made a mistake in a file since. So as long as anybody
can say where the state folder is, the agent stays, shows the trouble, and takes up its work when the file is mended.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any, Final, TypeVar

from edge_agent.config import CONFIG_FILE, PREFIX, CentralConfig, Config
from edge_agent.troubles import Troubles
from edge_agent.vision import ModelMismatch

LOOK_AGAIN_S: Final = 3.0

_T = TypeVar("_T")
_STATE_DIR_LINE: Final = re.compile(r"^\s*state_dir\s*=.*$", re.MULTILINE)


def wait_until_right(
    equip: Callable[[], _T],
    troubles: Troubles,
    stop: Event,
    *,
    on_wrong: Callable[[], None] = lambda: None,
    every_s: float = LOOK_AGAIN_S,
) -> _T | None:
    """What `equip` gives, as soon as it gives something; None if it is time to stop before.

    It raises ModelMismatch for a model that is refused, ValueError for a wrong configuration, OSError for a file that
    cannot be read.
    """
    while not stop.is_set():
        try:
            equipment = equip()
        except ModelMismatch as error:
            troubles.mended("configuration")
            troubles.found("model", f"{error}; nothing is photographed until it is right")
        except (ValueError, OSError) as error:
            troubles.found("configuration", f"{error}; nothing is photographed until it is right")
        else:
            troubles.mended("configuration")
            troubles.mended("model")
            return equipment
        on_wrong()
        stop.wait(every_s)
    return None


def what_is_left(
    path: Path | None, environment: Mapping[str, str], overrides: Mapping[str, Any] | None = None
) -> Config | None:
    """Of a wrong configuration: where the state folder and central are. None if nobody can say where the folder is.

    The arguments are those of `load_config`.
    """
    named = environment.get(f"{PREFIX}CONFIG")
    path = path or (Path(named) if named else CONFIG_FILE)
    text, values = "", None
    with suppress(OSError, UnicodeDecodeError):
        text = path.read_text(encoding="utf-8")
        values = _values(text)
    given = (overrides or {}).get("state_dir") or environment.get(f"{PREFIX}STATE_DIR")
    found = given or (values or _values("\n".join(_STATE_DIR_LINE.findall(text))) or {}).get("state_dir")
    if isinstance(found, str | Path) and str(found):
        state_dir = Path(found)
    elif values is not None and "state_dir" not in values:
        state_dir = Config().state_dir
    else:
        state_dir = Config().state_dir
        # A guess: good enough only if a reader has worked there.
        if not (state_dir / "outbox.db").is_file():
            return None
    return Config(state_dir=state_dir, central=CentralConfig(_url(values or {}, environment)))


def _values(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _url(values: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    central = values.get("central")
    found = environment.get(f"{PREFIX}CENTRAL__URL") or (central.get("url") if isinstance(central, dict) else None)
    return found if isinstance(found, str) else ""
