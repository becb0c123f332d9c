"""What a Kubernetes object is: kinds, schemas, selectors, refusals. No storage and no HTTP."""
