"""The values that a run is made of, and the ports that it asks. No decision and no manifest."""
