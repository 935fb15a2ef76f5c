"""From runs to what people and laboratory systems read.

`queries` the SELECTs; `aggregate` the distribution and its statistics (pure); `dialects` files (pure); `images` the
photographs; `live` new runs for whoever listens.
"""
