"""What reviewers say of runs, and who stands for them. A run itself never changes: what is said is kept beside it.

`corrections` what may be said and the run as it then stands (pure), `approval` who may approve and what a signature is
over (pure), `agreement` device and reviewer compared (pure); `dossier` everything of one run, `queue` what waits for a
reviewer, `changes` and `signing` what they do, `verify` whether all that is stored follows from calls and corrections.
"""
