"""From what is endorsed and what is there to what has to be done. Pure."""
