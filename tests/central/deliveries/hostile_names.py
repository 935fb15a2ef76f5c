"""Five hundred names that spreadsheets take for something else: formulas, numbers, dates, signs of other scripts."""

import itertools
import re
from typing import Final

_PAYLOADS: Final = (
    "1+1", "SUM(A1:A9)", "cmd|' /C calc'!A0", 'HYPERLINK("http://x","y")', "A1", "1", "0.5", "2-1", "NOW()",
    "WEBSERVICE(1)", "DDE(1)", "IMPORTXML(1)", "10", "1e3", "B2*2", "-1", "+1", "=1", "@x", "'x", '"x"', " ",
)  # fmt: skip
_SIGNS: Final = (
    "=",
    "+",
    "-",
    "@",
    "\t=",
    "\r=",
    "\n=",
    "＝",
    "＋",
    "－",
    "＠",
    "'=",
    '"=',
    " =",
    "%=",
    ";=",
    ",=",
    "=-",
    "+=",
)
_LOOKALIKES: Final = (
    "007", "0012", "1E5", "1e-5", "2E308", "1.50", "1,50", "1.5.26", "1/2", "1-2", "MAR1", "SEPT2", "12:30", "00:30",
    "2026-11-20", "20.11.2026", "TRUE", "false", "#REF!", "#N/A", "1234567890123456789", "0x10", "1_000", "10%", "€5",
    "½", "٣", "Ⅻ", "¹", "NaN", "inf", "∞", "null", "None", "-0", "0", "00", "1.0", "1 000", "1'000", "(5)", "5-", "A1",
    "R1C1", "$A$1", "Größe", "naïve", "日本", "אבג", "\u202eabc", "a\u200bb", "a\u0301", "🧪", "\ufeffx", "x\u0085y",
    "a;b", "a,b", 'a"b', "a'b", "a\tb", "a|b", "a\\b", "a/b", "../a", "C:\\a", "file:///a", "a\nb", "a\r\nb",
)  # fmt: skip

NAMES: Final = tuple(
    itertools.islice(
        dict.fromkeys(
            [*_LOOKALIKES, *(f"{sign}{payload}" for payload in _PAYLOADS for sign in _SIGNS),
             *(f"S-{name}" for name in _LOOKALIKES)]
        ),
        500,
    )
)  # fmt: skip
# What the doors let in as the name of a sample, a submission, a plate.
AT_THE_DOOR: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}")
