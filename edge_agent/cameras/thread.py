"""A camera in a thread of its own: a driver that hangs holds up nothing but itself.

The thread opens, asks and closes the device. One that does not answer in time is left behind with its device, and what
it answers later is lost: the next question goes to a new thread that opens the device anew. Drivers that hang for good
may not be left behind without end: at the third, or when the camera has been deaf for half a minute since, nothing more
is heard of the part `camera`, and the watchdog may start the agent anew (see `progress`).
"""

import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from queue import SimpleQueue
from threading import Thread
from typing import Final, Generic, TypeVar

import structlog

from edge_agent.cameras.frame import Camera, CameraError, Frame
from edge_agent.progress import Progress

# How long a person looks at nothing before being told: opening a device takes a second or two.
SHOWN_AFTER_S: Final = 2.0
SHOWN_AFTER_OPENING_S: Final = 4.0
# Longer and the bench stands still; shorter and a slow camera is taken for one that hangs.
PATIENCE_S: Final = 6.0
MOST_LEFT_BEHIND: Final = 3
DEAF_S: Final = 30.0
PART: Final = "camera"

_SLICE_S: Final = 0.5
_T = TypeVar("_T")
_log = structlog.get_logger(__name__)


class ThreadedCamera:
    """Asks a camera in a thread of its own, and only so long."""

    def __init__(
        self,
        open_device: Callable[[], Camera],
        progress: Progress,
        *,
        tell: Callable[[str], None],
        waiting: Callable[[], None] = lambda: None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """`tell` hears of a camera that is slow before it is given up; `waiting` is called twice a second meanwhile."""
        self._open_device, self._progress = open_device, progress
        self._tell, self._waiting, self._patience_s = tell, waiting, patience_s
        self._worker: _Worker | None = None
        self._left_behind: list[_Worker] = []
        self._answered_s, self._given_up = time.monotonic(), False

    def capture(self) -> Frame | None:
        """The next photograph; CameraError if the device does not answer in time."""
        return self._ask(lambda device: device.capture())

    def check(self) -> None:
        """Nothing, if the device answers."""
        self._ask(lambda device: device.check())

    def close(self) -> None:
        """Let the device be closed by its thread; the next question opens it again."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.end()
            worker.join(SHOWN_AFTER_S)
            if worker.is_alive():
                self._left_behind.append(worker)
        if not self._given_up:
            self._progress.gone(PART)

    def _ask(self, question: Callable[[Camera], _T]) -> _T:
        self._left_behind = [worker for worker in self._left_behind if worker.is_alive()]
        if len(self._left_behind) >= MOST_LEFT_BEHIND:
            self._give_up()
            raise CameraError(f"the camera hung {len(self._left_behind)} times and is not opened again: {_ADVICE}")
        worker = self._worker = self._worker or _Worker(self._open_device)
        answer = worker.ask(question)
        if not self._given_up and not self._is_deaf():
            self._progress.beat(PART, self._patience_s + SHOWN_AFTER_S, "asking the camera")
        if not self._wait(answer, worker):
            self._leave_behind(worker)
            raise CameraError(f"the camera gave nothing for {self._patience_s:.0f} s and is opened again: {_ADVICE}")
        return self._result(answer)

    def _wait(self, answer: Future[_T], worker: "_Worker") -> bool:
        """Whether an answer came in time."""
        asked_s, told = time.monotonic(), False
        shown_after_s = SHOWN_AFTER_S if worker.is_open else SHOWN_AFTER_OPENING_S
        while (waited_s := time.monotonic() - asked_s) < self._patience_s:
            if wait([answer], min(_SLICE_S, self._patience_s - waited_s)).done:
                return True
            self._waiting()
            if not told and waited_s + _SLICE_S >= shown_after_s:
                told = True
                self._tell(f"the camera has given nothing for {shown_after_s:.1f} s: {_ADVICE}")
        return answer.done()

    def _result(self, answer: Future[_T]) -> _T:
        error = answer.exception()
        if error is None:
            self._answered_s, self._given_up = time.monotonic(), False
            self._progress.gone(PART)
            return answer.result()
        if self._is_deaf():
            self._give_up()
        elif not self._given_up:
            self._progress.gone(PART)
        if isinstance(error, CameraError | OSError | sqlite3.Error) or not isinstance(error, Exception):
            raise error
        # A driver is foreign code: whatever it raises, the camera is what failed.
        raise CameraError(f"the camera's driver failed: {type(error).__name__}: {error} ({_ADVICE})") from error

    def _leave_behind(self, worker: "_Worker") -> None:
        self._worker = None
        worker.end()
        self._left_behind.append(worker)
        _log.error("camera left behind in its thread", left_behind=len(self._left_behind), most=MOST_LEFT_BEHIND)

    def _is_deaf(self) -> bool:
        return bool(self._left_behind) and time.monotonic() - self._answered_s > DEAF_S

    def _give_up(self) -> None:
        """Late at once, and until the camera answers, whatever closes and opens it meanwhile."""
        self._given_up = True
        self._progress.beat(PART, 0.0, "waiting for a camera that hangs")


_ADVICE: Final = "look at its cable; if that is right, start the reader anew"


class _Request(Generic[_T]):
    """A question to a device, and where its answer goes."""

    def __init__(self, question: Callable[[Camera], _T]) -> None:
        self.question, self.answer = question, Future[_T]()

    def put_to(self, device: Camera) -> None:
        """Ask, and keep what came of it."""
        self.answer.set_result(self.question(device))


class _Worker:
    """The thread that a device belongs to."""

    def __init__(self, open_device: Callable[[], Camera]) -> None:
        self.is_open = False
        self._open_device = open_device
        self._requests: SimpleQueue[_Request[object] | None] = SimpleQueue()
        # A thread that hangs in a driver cannot be ended; it must not keep the process from ending.
        self._thread = Thread(target=self._work, name="camera", daemon=True)
        self._thread.start()
        self.join, self.is_alive = self._thread.join, self._thread.is_alive

    def ask(self, question: Callable[[Camera], _T]) -> Future[_T]:
        """Put a question; the answer comes later, or never."""
        request = _Request(question)
        self._requests.put(request)  # type: ignore[arg-type]
        return request.answer

    def end(self) -> None:
        """Close the device and end, when the question at hand is answered."""
        self._requests.put(None)

    def _work(self) -> None:
        device: Camera | None = None
        while (request := self._requests.get()) is not None:
            try:
                device = device or self._open_device()
                self.is_open = True
                request.put_to(device)
            except BaseException as error:  # noqa: BLE001 - whoever asked raises it
                request.answer.set_exception(error)
        if device is not None:
            try:
                device.close()
            except BaseException as error:  # noqa: BLE001 - nobody waits for it any more
                _log.warning("camera not closed", error=f"{type(error).__name__}: {error}")
