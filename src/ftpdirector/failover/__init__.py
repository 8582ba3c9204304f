"""What a cluster of directors shares, so that the one that takes over can go on. This room knows no engine."""
