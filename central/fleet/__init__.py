"""The readers that belong here, and the broker that they talk to.

`devices` claim, enrol, revoke, what a device last said; `queries` the SELECTs; `broker` accounts and permissions of
Mosquitto, `broker_child` the one that central runs itself, `mosquitto` its files.
"""
