"""The health guard: readings of one Deployment, and the pure judge over them. Not how its ticks go.

    observe (adapters behind `ports`) ──▶ Reading ──▶ judge(reading, policy, state, now) ──▶ Verdict ──▶ act (adapters)

Nothing in here does I/O, reads a clock or keeps anything between two calls.
"""
