"""Speed as ratios beside a peer or a ceiling, in one run; printed, never a gate: `make bench`."""
