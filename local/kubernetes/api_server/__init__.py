"""The API over HTTP: requests, patches, watches, subresources. Nothing that happens by itself."""
