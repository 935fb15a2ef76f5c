"""From runs to what people and laboratory systems read.

`queries` the SELECTs; `aggregate` the distribution and its statistics (pure); `dialects` files (pure); `images` the
photographs, `keeping` how long they stay; `live` new runs for whoever listens.
"""
