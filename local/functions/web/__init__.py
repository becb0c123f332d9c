"""What the host answers over HTTP: routes, keys, management. Not how a function is run."""
