"""The mover's whole steps, each put together from the parts. No part that two of them need."""
