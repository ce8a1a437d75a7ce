"""Scenarios of the batch bench.

Receives: rows and a running PostgreSQL. Hands on: figures of runs whose results were checked. Never: a figure of a wrong result.
"""
