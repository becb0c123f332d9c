"""Azure on one machine: the endpoints that the app calls, so that the unmodified SDK clients run in the rehearsal."""
