"""What travels between a device and central: frozen, versioned structs. `codec` turns them into bytes.

Every message says its version `v`. Unknown fields are ignored (a newer side may add some); an unknown version is
refused. Times are UTC; `captured_at` is the device's clock, `received_at` central's. Order is (device, epoch, seq),
never a clock.
"""

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec

from protocol.assay import Call

VERSION: Final = 1

# Identities become topic segments and file names, so nothing but these characters may be in them.
DeviceId = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{2,62}$(?!\n)")]
LabId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}$(?!\n)")]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]
PublicKey = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]
ReadingId = Annotated[
    str, msgspec.Meta(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$(?!\n)")
]
Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]

Drift = Literal["place", "light", "white", "evenness"]
A1From = Literal["seat", "unknown"]
Opinion = Literal["streams", "does_not_stream", "undecided"]
ClockQuality = Literal["synchronised", "unsynchronised", "unknown"]
PartInTrouble = Literal["camera", "disk", "outbox", "configuration", "clock", "model"]

# The UTC date of a reading's `captured_at`, whatever the device believed the year to be.
Day = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$(?!\n)")]
Seq = Annotated[int, msgspec.Meta(ge=1)]


class Streak(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The second opinion on a well: its red blob measured along the tilt, without the network.

    Without a blob all figures are 0. `length_mm` and `width_mm` are the blob's spread along and across the tilt;
    `tail_ratio` is the mean width of its lowest 30 % over that at 15–50 %; `darkness` and `redness` are how far it is
    below and above its well's floor in CIELAB L* and a*. `streaming` is length over width against the same of the
    plate's RBC control wells or, where the profile has none, of its longer tears.
    """

    opinion: Opinion
    area_mm2: float = 0.0
    length_mm: float = 0.0
    width_mm: float = 0.0
    tail_ratio: float = 0.0
    darkness: float = 0.0
    redness: float = 0.0
    streaming: float | None = None


class Colour(msgspec.Struct, frozen=True, gc=False):
    """The colour of a well: CIELAB (D65) of the median of its liquid, the plate's own light taken as white.

    `delta_…` are against the `reference`: the plate's blank wells (their median), or the plate's light where the
    profile has none. `glare_share` of the disc was too bright to count; `scatter` is the median distance of its pixels
    from the colour.
    """

    lightness: float
    a: float
    b: float
    delta_lightness: float
    delta_a: float
    delta_b: float
    reference: Literal["blanks", "plate_light"]
    scatter: float
    glare_share: float


class Growth(msgspec.Struct, frozen=True, gc=False):
    """Growth in a well: `contrast` is its mean difference from the sterility controls in CIELAB.

    `share` is that of the growth controls' contrast: 0 as the sterility controls, 1 as the growth controls.
    """

    share: float
    contrast: float


class Well(msgspec.Struct, frozen=True, gc=False):
    """One well of one reading. `candidates` holds every call above 0.05 with its calibrated probability.

    Flags: `low_confidence` (confidence under the profile's limit), `not_seen` (placed by the lattice, no detection),
    `glare`, `haze`, `covered`, `out_of_picture`, `disputed` (`streak` is sure of the opposite of the call),
    `orientation_doubted` (on every well: the picture speaks against the seat), `orientation_unconfirmed` (on every
    well: nothing in the picture says how the plate lies, and it would read otherwise if it lay turned by half),
    `no_contrast` (the growth controls look like the sterility controls), `no_blanks` (no blank well is seen). `streak`
    is null where it was not measured; `colour` and `growth` are there only where the profile judges by them. Then
    `confidence` is no calibrated probability: it is the chance, by the profile's own figure for scatter, that another
    photograph of the well would be called the same.
    """

    call: Call
    confidence: Fraction
    candidates: dict[Call, Fraction] = {}
    flags: tuple[str, ...] = ()
    centre_px: tuple[float, float] | None = None
    streak: Streak | None = None
    colour: Colour | msgspec.UnsetType = msgspec.UNSET
    growth: Growth | msgspec.UnsetType = msgspec.UNSET


class PlateSeen(msgspec.Struct, frozen=True):
    """The plate as the picture showed it. `rotation_degrees` is its clockwise turn, a multiple of 90.

    `residual_pitch` is the root mean square distance of detected wells from the fitted lattice, in well pitches.
    """

    format: int
    rows: int
    columns: int
    rotation_degrees: int
    mirrored: bool
    a1_from: A1From
    wells_seen: int
    residual_pitch: float
    pitch_px: float


class PlateCode(msgspec.Struct, frozen=True):
    """Which plate it is: submission, test, plate number; `text` is the code as read or given, `source` says which."""

    text: str
    source: Literal["picture", "given"]
    submission: LabId
    test: LabId
    plate_number: LabId


class ModelUsed(msgspec.Struct, frozen=True):
    """The model release and runtime that made the calls; `sha256` is that of the release's manifest."""

    name: str
    version: int
    sha256: Sha256
    runtime: str


class Picture(msgspec.Struct, frozen=True):
    """The photograph behind a reading; central asks for it by `sha256` after the reading is accepted."""

    sha256: Sha256
    bytes: Annotated[int, msgspec.Meta(ge=1)]
    width_px: int
    height_px: int
    media_type: Literal["image/jpeg", "image/png"]
    name: str


class Clock(msgspec.Struct, frozen=True):
    """What the device knew of time when it captured: enough to correct a wrong clock later.

    `quality` is what the operating system says of its synchronisation. `offset_s` is the device's clock minus
    central's, from the last answer in this boot; null before the first one.
    """

    boot_id: str
    monotonic_ns: int
    quality: ClockQuality = "unknown"
    offset_s: float | None = None


class CalibrationUsed(msgspec.Struct, frozen=True):
    """The bench's calibration that was in force, and what has drifted from it beyond its limit."""

    id: LabId
    made_at: datetime
    drifted: tuple[Drift, ...] = ()


class PlateReading(msgspec.Struct, frozen=True):
    """What one device saw on one plate, once. Immutable: the digest is over exactly these bytes."""

    v: int
    id: ReadingId
    device_id: DeviceId
    captured_at: datetime
    clock: Clock
    profile: str
    profile_version: int
    code: PlateCode | None
    plate: PlateSeen
    wells: dict[str, Well]
    quality: dict[str, float]
    model: ModelUsed
    picture: Picture
    agent: str
    calibration: CalibrationUsed | None = None


class ReadingEnvelope(msgspec.Struct, frozen=True):
    """A reading on its way: the outbox's place for it, the digest of its bytes, and the bytes untouched."""

    v: int
    device_id: DeviceId
    epoch: str
    seq: Annotated[int, msgspec.Meta(ge=1)]
    historical: bool
    digest: Sha256
    reading: msgspec.Raw


class ReadingBatch(msgspec.Struct, frozen=True):
    """Several readings of a backlog in one message, each a whole `ReadingEnvelope`: central answers each by itself.

    Only to a central whose status says `batches`. What got no answer twice goes alone, so that one bad reading holds
    up no others.
    """

    v: int
    device_id: DeviceId
    envelopes: tuple[msgspec.Raw, ...]


class Rejection(msgspec.Struct, frozen=True):
    """A reading that central will never accept, and why; the device keeps it. `id` is None if it was unreadable."""

    id: str | None
    seq: int | None
    code: str
    detail: str


class LedgerDay(msgspec.Struct, frozen=True):
    """The readings of one day that a device still holds, sent or not.

    `ranges` are their places (`seq`, both ends included), `digest` is `protocol.ledger.day_digest` over them, and
    `unsettled` of them have no answer yet.
    """

    day: Day
    ranges: tuple[tuple[Seq, Seq], ...]
    unsettled: Annotated[int, msgspec.Meta(ge=0)]
    digest: Sha256


class Ledger(msgspec.Struct, frozen=True):
    """What a device holds, day by day, for central to compare with what it has: at each birth, and once a day."""

    v: int
    device_id: DeviceId
    epoch: str
    days: tuple[LedgerDay, ...] = ()


class Held(msgspec.Struct, frozen=True):
    """What central holds of one day of a device's ledger, which went `through` this place: ranges and digest of it."""

    day: Day
    through: Seq
    ranges: tuple[tuple[Seq, Seq], ...]
    digest: Sha256


class Ack(msgspec.Struct, frozen=True):
    """Central's answer, sent only after its commit. `accepted` are reading ids; `wanted` are pictures it lacks.

    `held` answers a `Ledger`: the days on which the two sides differ, or of which the device still waits for answers.
    `ledger_wanted`: central misses readings and asks the device to account for what it holds.
    """

    v: int
    epoch: str
    accepted: tuple[str, ...] = ()
    rejected: tuple[Rejection, ...] = ()
    wanted: tuple[Sha256, ...] = ()
    now: datetime | None = None
    held: tuple[Held, ...] = ()
    ledger_wanted: bool = False


class OutboxDepth(msgspec.Struct, frozen=True):
    """How much a device still holds: readings not yet acknowledged, of those set aside, pictures to upload.

    `bytes` are those of the outbox and its pictures, `oldest_at` is the capture of the oldest reading that waits.
    `hours_left` until nothing more can be photographed, at the pace of the last day; null where that is unknown.
    `full`: the disk has no room and nothing is photographed until it has; sending goes on.
    """

    epoch: str
    last_seq: int
    pending: int
    quarantined: int
    pictures: int
    bytes: int = 0
    oldest_at: datetime | None = None
    hours_left: float | None = None
    full: bool = False


class Trouble(msgspec.Struct, frozen=True):
    """Something at the bench that a person must mend; `detail` says what, and what to do."""

    part: PartInTrouble
    detail: str
    since: datetime


class Refusal(msgspec.Struct, frozen=True):
    """The last photograph that the device refused to read, and why."""

    at: datetime
    photo: str
    reason: str
    detail: str


class DeviceStatus(msgspec.Struct, frozen=True):
    """Retained birth, heartbeat and last will of a device. `session` pairs a will with its birth.

    `clock` was read together with `at`: central learns from it when a boot of the device began.
    """

    v: int
    device_id: DeviceId
    online: bool
    session: str
    at: datetime | None = None
    agent: str | None = None
    model: str | None = None
    outbox: OutboxDepth | None = None
    last_refusal: Refusal | None = None
    clock: Clock | None = None
    troubles: tuple[Trouble, ...] = ()


class CentralStatus(msgspec.Struct, frozen=True):
    """Retained presence of central: devices hold back while it is away. `min_v`…`max_v` are the versions it reads.

    `batches`: it takes a `ReadingBatch`.
    """

    v: int
    online: bool
    instance: str
    min_v: int = VERSION
    max_v: int = VERSION
    batches: bool = False


class EnrolmentRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A reader asks to become a device (HTTP), with the one-time code that a person was given.

    `public_key` is the reader's Ed25519 key (hexadecimal), by which archives carried by hand are known to be its own.
    """

    claim_code: str
    device_id: DeviceId
    agent: str
    public_key: PublicKey | None = None


class BrokerAccess(msgspec.Struct, frozen=True):
    """How a device reaches the broker. The seam where a client certificate will stand beside the password."""

    host: str
    port: int
    username: str
    password: str
    tls: bool = False


class Enrolment(msgspec.Struct, frozen=True):
    """Central's answer to an enrolment: shown once, kept by the device with mode 0600.

    `other_brokers` are tried in turn when `broker` cannot be reached.
    """

    device_id: DeviceId
    name: str
    broker: BrokerAccess
    upload_token: str
    other_brokers: tuple[BrokerAccess, ...] = ()
