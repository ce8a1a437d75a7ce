"""Alerts: what the project wants to be told of, looked at every few seconds by one engine, told once, and told when over.

Receives: declarations, figures of the control.  Hands on: notices to channels, a state for pages.  Never: blocks flows; tells of records.
"""
