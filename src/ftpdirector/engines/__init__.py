"""The engines: each makes the host agree with what is wanted, and knows no other engine."""
