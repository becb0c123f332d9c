"""What runs in the load test's Job, in Locust's own image: users, their accounts, and the measurements.

It imports nothing of the rest of the project and is packed as a zipapp, as the mover is. It needs what that image has:
Locust, and with it gevent and python-socketio's client.
"""
