"""The same work over many seeds, in processes that each load their networks once: two cores halve an evaluation."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import cv2

from edge_agent.vision import Model, load_model
from models.training.floats import load_float_model

Result = TypeVar("Result")


def over_seeds(work: Callable[[int], Result], seeds: Sequence[int]) -> list[Result]:
    """Results in the order of the seeds; `work` is a module's function, or a partial of one."""
    processes = min(len(os.sched_getaffinity(0)), len(seeds))
    if processes <= 1:
        return [work(seed) for seed in seeds]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        return list(pool.map(work, seeds, chunksize=max(1, len(seeds) // (processes * 8))))


@cache
def loaded(release: Path) -> Model:
    """The release, once per process."""
    return load_model(release)


@cache
def loaded_float(release: Path, floats: Path) -> Model | None:
    """The release with its networks as they were before they became int8, once per process; None without the files."""
    return load_float_model(loaded(release), floats)


def _one_thread() -> None:
    cv2.setNumThreads(1)
