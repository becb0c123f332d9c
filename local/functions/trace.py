"""Trace contexts. Source: W3C Trace Context, header `traceparent`, version 00."""

import uuid


def new_trace_parent() -> str:
    """Make the root of a new trace."""
    return f"00-{uuid.uuid4().hex}-{uuid.uuid4().hex[:16]}-01"


def child_trace_parent(parent: str) -> str:
    """Continue a trace under a new span; what is not a trace begins a new one."""
    parts = parent.split("-")
    if len(parts) != 4:
        return new_trace_parent()
    return "-".join([parts[0], parts[1], uuid.uuid4().hex[:16], parts[3]])
