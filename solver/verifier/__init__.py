"""Signed documents verified in processes of their own. See README.md."""
