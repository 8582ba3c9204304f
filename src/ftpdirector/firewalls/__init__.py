"""Packet filters of others: what they drop of ours, and the commands that let it pass. This room knows no engine."""
