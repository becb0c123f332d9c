"""The real durable extension in the engine's place. Nothing of our own engine.

    Azurite    the storage account: queues, tables, blobs                          storage.py
      ▲
    program    Microsoft.Azure.WebJobs.Extensions.DurableTask in a WebJobs host    program.py
      │  ▲     a child of our host, so that both go together, as an instance does
      ▼  │
    our host   HTTP, timers, keys, and the app in its worker                       bridge.py

The program has a function for each durable function of the app. The body of each is a POST to the bridge, where the
app's own worker answers. The app's durable client talks to the program's gRPC endpoint.
"""
