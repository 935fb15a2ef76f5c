"""What the laboratory plans: submissions, their tests, plates and sera; and which plate a run is of.

`states` where a plate is on its way (pure); `matching` the record of every run that comes in.
"""
