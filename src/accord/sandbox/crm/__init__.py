"""A CRM that speaks the part of Salesforce's REST API that integrations use.

Receives: OAuth 2.0 token requests, SOQL, sObject rows and collections.  Hands on: records, ids, errors as Salesforce words them.
Never: is used by anything but its own process.
"""

from accord.sandbox.crm.system import Crm

SYSTEM = Crm
