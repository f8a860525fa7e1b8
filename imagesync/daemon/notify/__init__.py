"""Telling people and programs what changed: once per event, however often a pass sees it."""
