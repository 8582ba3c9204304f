"""nft's language as values: what a table consists of, read from a listing, and the change from one table to another."""
