"""Results on their way out: the files that laboratory systems read.

`changes` the feed for who reads along; `rules` by which results leave; `states`, `outbox` and `targets/` bring files to
their places; `arrival` what follows when they arrive; `withdrawing` what is void after it was sent; `preview` a file
that is only looked at, `trial` one that tries a place; `command` for the shell.

The files, all of it pure: `results` what there is to hand over, as plain values; `dialect` the shape that a system
reads, as data, and the shipped ones in `dialects/`; `cells` one value as text; `render` results + dialect → the bytes
of a file; `withdrawal` one that takes results back; `differences` what a correction changed; `counts`, `tables`,
`grid`, `asm`, `workbook` the shapes.
"""
