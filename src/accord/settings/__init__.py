"""Project files: read with line numbers, references resolved, secrets kept.

Receives: a folder of YAML.  Hands on: nodes and typed settings, every fault with its place.  Never: interprets flows or mappings.
"""
