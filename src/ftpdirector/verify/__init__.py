"""The client's side: every transfer mode through a virtual server, byte for byte."""
