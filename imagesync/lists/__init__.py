"""Everything about a signed list: fetching, verifying, parsing, admitting, selecting, and making one."""
