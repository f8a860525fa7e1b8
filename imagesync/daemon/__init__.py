"""The long-running provider daemon: when passes are due, the processes they run in, and what systemd is told."""
