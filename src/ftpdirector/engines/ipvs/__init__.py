"""The IPVS engine: the kernel moves the bytes, keepalived holds the tables, firewall marks tie connections together."""
