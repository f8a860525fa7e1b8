"""The OpenStack Glance target. Holds no backend yet, and therefore registers no entry point."""
