"""Marketing stand-in: contacts with tags, and campaigns that take in whoever gets their tag.

Receives: HTTP with a bearer token.  Hands on: contacts, members of campaigns.  Never: makes a second contact of an external id.
"""

from accord.sandbox.marketing.system import Marketing

SYSTEM = Marketing
