"""Assay profiles as the laboratory has them, and what its controls say.

`registry` versions of profiles beside the shipped ones; `controls` whether a plate is valid, and control charts.
"""
