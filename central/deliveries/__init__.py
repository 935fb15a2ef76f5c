"""Results on their way out: the files that laboratory systems read.

`results` what there is to hand over, as plain values; `dialect` the shape that a system reads, as data, and the shipped
ones in `dialects/`; `cells` one value as text; `render` results + dialect → the bytes of a file; `counts`, `tables`,
`grid`, `asm`, `workbook` the shapes. All of it is pure.
"""
