"""Recorded numbers of the original implementations, and how tests read them; see `README.md` here."""
