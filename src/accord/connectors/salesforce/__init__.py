"""Salesforce, through its REST API: SOQL reads, sObject collections for writes, upsert by external id.

Receives: settings of an org, records to write.  Hands on: records as the org holds them, outcomes per record.
Never: sends a record one by one where a collection of 200 counts as one call.
"""

from accord.connectors.salesforce.kind import SalesforceKind

CONNECTOR = SalesforceKind()

__all__ = ["CONNECTOR", "SalesforceKind"]
