"""``monitor`` of an environment: who may look and act, by password or through an identity provider."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from accord.errors import NOWHERE, Place
from accord.settings.secret import Secret

RoleName = Literal["viewer", "operator", "admin"]
_ROLES = "viewer reads, operator also pauses, resumes, mends and replays, admin also cancels, discards and reads the audit trail."


class UserSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who signs in with a password."""

    name: Annotated[
        str, Meta(min_length=1, max_length=100, description="As it is typed and as the audit trail shows it.")
    ]
    password_hash: Annotated[
        Secret, Meta(description="What `accord monitor hash-password` printed, as ${secret:name}.")
    ]
    role: Annotated[RoleName, Meta(description=_ROLES)] = "viewer"
    place: Place = NOWHERE


class OidcSpec(msgspec.Struct, frozen=True, kw_only=True):
    """An identity provider that speaks OpenID Connect (authorization code with PKCE)."""

    issuer: Annotated[
        str, Meta(description="Its address, as its tokens name it; the configuration is read from under it.")
    ]
    client_id: Annotated[str, Meta(min_length=1, description="Accord's name at the provider.")]
    client_secret: Annotated[
        Secret | None, Meta(description="As ${secret:name}. None: a public client, which PKCE alone protects.")
    ] = None
    scopes: Annotated[list[str], Meta(description="Asked for beside `openid`.")] = msgspec.field(
        default_factory=lambda: ["profile", "email"]
    )
    name_claim: Annotated[
        str,
        Meta(
            min_length=1, description="Claim of the id token, or of UserInfo, that names a person in the audit trail."
        ),
    ] = "email"
    role_claim: Annotated[
        str,
        Meta(
            min_length=1,
            description="Claim of the id token, or of UserInfo (text or list of texts) that `roles` looks up.",
        ),
    ] = "groups"
    roles: Annotated[
        dict[str, RoleName],
        Meta(description="Value of the claim → role; the highest counts. Who has none may not enter. " + _ROLES),
    ] = {}
    place: Place = NOWHERE

    def __post_init__(self) -> None:
        if not self.issuer.startswith(("https://", "http://127.0.0.1:", "http://localhost:")):
            raise ValueError(f"`issuer` must begin with https://, this is '{self.issuer[:60]}'")
        if not self.roles:
            raise ValueError("`roles` must say which value of the claim gives which role, like {accord-admins: admin}")


class MonitorSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Who may look at this Accord and act on it. The engine's token is an admin anyway."""

    users: Annotated[
        list[UserSpec],
        Meta(description="They sign in on the pages, and use the control API with HTTP Basic authentication."),
    ] = []
    oidc: Annotated[OidcSpec | None, Meta(description="None: nobody signs in through an identity provider.")] = None
    session: Annotated[
        dt.timedelta, Meta(description="After so long one has to sign in again. 12h are a working day.")
    ] = dt.timedelta(hours=12)
    audit_kept: Annotated[
        dt.timedelta, Meta(description="How long is kept who did what. 365d cover a yearly audit.")
    ] = dt.timedelta(days=365)
    place: Place = NOWHERE

    def __post_init__(self) -> None:
        names = [user.name for user in self.users]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"`users` has '{name[:60]}' more than once")
            if ":" in name:
                raise ValueError(f"the name of a user cannot hold a colon, this is '{name[:60]}'")
        if not dt.timedelta(minutes=1) <= self.session <= dt.timedelta(days=30):
            raise ValueError("`session` must be from 1m to 30d")

    @property
    def asks_who(self) -> bool:
        """Whether one has to sign in on a loopback address too."""
        return bool(self.users) or self.oidc is not None
