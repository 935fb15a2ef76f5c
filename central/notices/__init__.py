"""What somebody ought to look at: one notice for a thing until it is over, and who is told of it.

`kinds` what there may be notices of, `states` how far one has come, `decide` what is to be done (these three are pure);
`facts` what is measured, `looking` one look and its transaction; `words` what is said, `letters` the outbox that says
it; `running` the workers; `editing` what people do, `queries` lists, `standing` the count on every page, `defaults` the
rules of a new site.
"""
