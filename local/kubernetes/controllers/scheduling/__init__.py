"""Where pods run, and nodes that have fallen silent. Not how pods run there."""
