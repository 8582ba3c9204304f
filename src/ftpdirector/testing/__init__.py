"""What tests of ftpdirector, and of what is built on it, stand on."""
