"""Faults on real parts: what a reading survives, judged from outside."""
