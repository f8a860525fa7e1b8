"""What cannot be observed again."""
