"""Results on their way out: the files that laboratory systems read.

`changes` the feed for who reads along; `states`, `outbox` and `targets/` bring files to their places.

The files, all of it pure: `results` what there is to hand over, as plain values; `dialect` the shape that a system
reads, as data, and the shipped ones in `dialects/`; `cells` one value as text; `render` results + dialect → the bytes
of a file; `counts`, `tables`, `grid`, `asm`, `workbook` the shapes.
"""
