"""What the laboratory plans: submissions, their tests, plates and sera; and which plate a run is of.

`states` where a plate is on its way (pure); `matching` the record of every run that comes in, `unmatched` those that
wait, `alarms` what does not fit. `sheets`, `fields` and `worklist` files → what somebody wants, `known` what is there,
`comparing` the one against the other (pure), `importing` into the plan; `editing` changes by hand; `queries` lists;
`said` comments and history.
"""
