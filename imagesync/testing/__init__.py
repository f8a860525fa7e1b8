"""What backends and their tests can build on. PUBLIC."""
