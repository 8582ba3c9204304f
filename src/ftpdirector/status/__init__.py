"""What is going on, shown: a page, metrics, JSON, and a line a transfer."""
