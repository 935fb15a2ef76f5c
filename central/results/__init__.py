"""From runs to what people and laboratory systems read.

`queries` the SELECTs; `aggregate` the distribution and its statistics (pure); `images` the photographs, `keeping` how
long they stay; `lists` plates and files page by page; `live` new runs for whoever listens, `followers` every change;
`quality` how well devices read (pure), `figures` the row of each run that this is added up from, kept by following the
feed.
"""
