"""What a cluster of directors shares, so that the one that takes over can go on. This package knows no engine."""
