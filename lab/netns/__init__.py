"""Hosts in network namespaces: a client, a director and real servers, without a guest. Needs root and ip(8)."""
