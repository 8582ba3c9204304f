"""The proxy engine: this process parses the control connections and splices the data connections.

The `engine` accepts by `listeners`, a `connector` finds a real server, a `session` has the client then; its two data
connections are in `data`, their bytes in `relay`. What they share is a `runtime`, which knows nobody.
This package knows no cluster file and no probe.
"""
