"""The load test: its Job, what is tried next, what passes, how it is told. Not when it runs."""
