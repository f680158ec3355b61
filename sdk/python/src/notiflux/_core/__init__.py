"""The protocol, without I/O.

What waits is a generator: a plan (plan.py). It yields what it needs, such as a request over
HTTP, and gets the result. The two clients run the same plans, each in its own way.
"""
