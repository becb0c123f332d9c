"""Monitoring on this machine: the dashboard's design, a real Prometheus, what it scrapes, and a picture of it all."""
