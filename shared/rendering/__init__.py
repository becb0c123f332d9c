"""Values as text: documents, plots, Prometheus' format. Nothing that knows what a migration is."""
