"""Azure, Kubernetes and Open WebUI played on one machine, and the rehearsal. Nothing of it is deployed."""
