"""Packet filters of others: what they drop of ours, and the commands that let it pass. This package knows no engine."""
