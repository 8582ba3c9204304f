"""The cluster file: text in, a Cluster or every problem at once out."""
