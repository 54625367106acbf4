"""A trained guard in use: one exchange or many, from Python, the command line or over HTTP."""
