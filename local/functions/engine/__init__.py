"""A durable engine: Durable Task over gRPC, its state in one SQLite file. Knows no function's code.

Everything that must survive is a row: instances, their history, messages waiting for them (timers are messages due
later), scheduled activities, entities and operations waiting for them. A step of an orchestration is one transaction,
so the process may be killed at any moment: what was committed stands, what was in flight is delivered again. Only
leases (who works on what) live in memory, and each is bound to the stream it was delivered on: when a worker dies its
stream ends and its work goes to the next.

The engine is one asyncio program on one thread, so no state needs a lock.

Source: durabletask-protobuf `orchestrator_service.proto`, as shipped in durabletask 1.12.
"""
