"""Spread cells or none: a plate that holds the one kind of well rarely holds a faint version of the other. Pure.

Cells that agglutinated lie over the whole floor of a well as a veil; a well without cells has a bare floor. In one well
the two can look alike, but wells of a plate were filled from one bottle under one lamp. So the share of wells without
cells is estimated from the whole plate (expectation maximisation over a shifted prior; Saerens, Latinne and
Decaestecker, Neural Computation 14, 2002), and only what the network gave to these two calls is divided anew. Nothing
is taken from or given to a call that says whether cells flowed.
"""

from typing import Final

import numpy as np

from edge_agent.vision.tensors import Array

# No plate makes either call more than this many times likelier than the well itself does: a single well that was never
# filled must stay what it clearly is.
MOST_ODDS: Final = 3.0
# A prior of this many wells of each kind: a few wells do not speak for a plate.
PRIOR_WELLS: Final = 2.0
ROUNDS: Final = 20


def settle_spread(probabilities: Array, diffuse: int, empty: int) -> Array:
    """Probabilities (wells, classes) of one plate with `diffuse` and `empty` divided anew; their sum stays."""
    mass = probabilities[:, diffuse] + probabilities[:, empty]
    bare = probabilities[:, empty] / np.maximum(mass, 1e-9)
    odds = 1.0
    for _ in range(ROUNDS):
        settled = bare * odds / (bare * odds + (1 - bare))
        empties, spread = float((mass * settled).sum()), float((mass * (1 - settled)).sum())
        odds = (empties + PRIOR_WELLS) / (spread + PRIOR_WELLS)
        odds = min(max(odds, 1 / MOST_ODDS), MOST_ODDS)
    settled = bare * odds / (bare * odds + (1 - bare))
    divided = probabilities.copy()
    divided[:, empty], divided[:, diffuse] = mass * settled, mass * (1 - settled)
    return divided
