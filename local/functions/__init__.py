"""The local Functions host and its durable engine: run the app on one machine. Nothing of this app itself.

    the app  ◀── runtime ──▶  azure-functions-runtime, the worker that also runs in Azure
    host     web (routes, keys, management) · triggers (timers, durable work)
    engine   Durable Task over gRPC, every step committed to SQLite

The app's folder is the one that is deployed; nothing in it knows that it runs here.
"""
