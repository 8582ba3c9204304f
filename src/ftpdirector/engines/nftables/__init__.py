"""The engine of nftables: every packet is the kernel's, this package writes and edits one table."""
