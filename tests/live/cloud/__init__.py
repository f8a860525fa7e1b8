"""A real Keystone and Glance, and a Nova, on the loopback interface, for tests and for trying things by hand.

The fixtures are in ``cloud.fixtures``; ``python -m cloud`` is what ``make cloud`` runs.
"""
