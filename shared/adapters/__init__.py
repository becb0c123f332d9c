"""The ports, implemented with Azure's, Kubernetes' and PostgreSQL's clients. No decision, no phase."""
