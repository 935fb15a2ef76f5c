"""What a person at the bench types, where it is more than a few lines: `read`, `calibrate`, `queue`, `doctor`."""
