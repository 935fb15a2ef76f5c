"""Who may do what: people, their sign-in, and the guard of every route.

`callers` who a request speaks for; `auth` sign-in; `sessions` where somebody is signed in; `refresh` how a program
stays so; `tokens` what speaks for a session; `passwords` what is accepted and how it is kept; `totp` one-time codes,
`second_factor` setting them up; `throttle` slows guessing down. `users` accounts, `names` what they are called, `links`
one-time links, `directory` who there is. `keys` machines; `sites` whose things they are, `laboratories` changing that.
`oidc` signing in at a provider, `flow` there and back, `id_token` what it says, `identities` whom that is here;
`forgotten` passwords; `sweeping` what is over. `permissions` roles and scopes; `access` the guard that holds
every route to them; `page` their table; `command` all of it typed.
"""
