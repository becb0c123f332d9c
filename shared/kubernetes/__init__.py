"""Open WebUI's objects: manifests in, values and manifests out. No SDK, and nothing of one phase only."""
