"""The real Python worker and what is said to it. Nothing that decides when a function runs."""
