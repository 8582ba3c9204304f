"""Side by side with peers: each proxy pinned to one core, load and real server on the other.

Drives installed commands; imports nothing of the package.
"""
