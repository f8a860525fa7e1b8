"""The status page, the metrics and the API of the daemon. Read only: they look at the state, never at a target."""
