"""The proxy engine: this process parses the control connections and splices the data connections.

One address in `server`, one session in `control`, its two data connections in `data`, their bytes in `relay`.
This package knows no cluster file and no probe.
"""
