"""Prometheus on this machine: rules, dashboard, what is scraped, a picture. Nothing that is deployed."""
