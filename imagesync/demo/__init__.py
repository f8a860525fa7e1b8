"""The main job, shown on this machine: a publisher, a site, and what happens between them."""
