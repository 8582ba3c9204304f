"""The one way of a change onto a host: what it is to have, what it has, the plan between them, and carrying it out."""
