"""The load test: what runs in its Job (`generator`), what is tried next, what counts as passed, how it is told."""
