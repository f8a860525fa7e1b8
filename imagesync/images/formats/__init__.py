"""One module per disk format: what its header says, and what in it refuses the image."""
