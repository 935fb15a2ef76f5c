"""Who may do what: people, their sign-in, and the guard of every route.

`auth` sign-in; `passwords` what is accepted and how it is kept; `throttle` slows guessing down; `tokens` what speaks
for a person; `access` the table of every operation and the guard that holds every route to it.
"""
