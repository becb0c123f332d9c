"""What happens by itself in a cluster: controllers and the scheduler. Nothing that answers a request."""
