"""From the broker to a run: what devices send is taken, decided, committed and answered.

`link` the broker's client, `shedding` what one device may ask of it; `mqtt` the loop; `plan` bytes → what they ask for;
`decide` accepted, known, conflict or refused; `ingest` the transaction; `letters` what could not be accepted; `gaps`
and `accounts` what is missing and how both sides find out; `carried` archives that came on a stick.
"""
