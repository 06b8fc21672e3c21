"""How the suite's scenarios of OAuth are signed in to: with the SDK's providers, and a person who agrees at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs, urlparse

import httpx2
from mcp.client.auth import OAuthClientProvider
from mcp.client.auth.extensions.client_credentials import (
    ClientCredentialsOAuthProvider,
    PrivateKeyJWTOAuthProvider,
    SignedJWTParameters,
)
from mcp.client.auth.extensions.identity_assertion import IdentityAssertionOAuthProvider
from mcp.client.auth.utils import build_protected_resource_metadata_discovery_urls
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

REDIRECT: Final = AnyUrl("http://localhost:3000/callback")
CLIENT_METADATA_URL: Final = "https://conformance-test.local/client-metadata.json"  # the suite expects this one
SECONDS: Final = 30.0


class Storage:
    """Keeps tokens for as long as the process lives."""

    def __init__(self, client: OAuthClientInformationFull | None = None) -> None:
        self._client = client
        self._tokens: OAuthToken | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self._tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self._tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self._client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self._client = client_info


class Person:
    """Opens the address of the sign-in and agrees: the suite's server sends back with a code at once."""

    def __init__(self) -> None:
        self._query: dict[str, list[str]] = {}

    async def open(self, url: str) -> None:
        async with httpx2.AsyncClient(timeout=SECONDS) as client:
            answer = await client.get(url, follow_redirects=False)
        self._query = parse_qs(urlparse(answer.headers["location"]).query)

    async def come_back(self) -> AuthorizationCodeResult:
        query, self._query = self._query, {}
        state, issuer = (query.get(name, [None])[0] for name in ("state", "iss"))
        return AuthorizationCodeResult(code=query["code"][0], state=state, iss=issuer)


async def provider_for(scenario: str, url: str, given: Mapping[str, Any]) -> httpx2.Auth:
    """What signs the requests of ``scenario``."""
    match scenario:
        case "auth/client-credentials-jwt":
            return PrivateKeyJWTOAuthProvider(
                server_url=url,
                storage=Storage(),
                client_id=given["client_id"],
                assertion_provider=SignedJWTParameters(
                    issuer=given["client_id"],
                    subject=given["client_id"],
                    signing_algorithm=given.get("signing_algorithm", "ES256"),
                    signing_key=given["private_key_pem"],
                ).create_assertion_provider(),
            )
        case "auth/client-credentials-basic":
            return ClientCredentialsOAuthProvider(
                server_url=url,
                storage=Storage(),
                client_id=given["client_id"],
                client_secret=given["client_secret"],
                token_endpoint_auth_method="client_secret_basic",  # noqa: S106 (a method)
            )
        case "auth/enterprise-managed-authorization" | "auth/cross-app-access-complete-flow":  # one flow, two names
            return await _of_enterprise(url, given)
        case _:
            return _of_person(url, given)


def _of_person(url: str, given: Mapping[str, Any]) -> httpx2.Auth:
    person = Person()
    client = None
    if given.get("client_id"):
        client = OAuthClientInformationFull(
            client_id=given["client_id"],
            client_secret=given.get("client_secret"),
            redirect_uris=[REDIRECT],
            token_endpoint_auth_method="client_secret_basic" if given.get("client_secret") else "none",
        )
    return OAuthClientProvider(
        server_url=url,
        client_metadata=OAuthClientMetadata(
            client_name="modelhost",
            redirect_uris=[REDIRECT],
            grant_types=["authorization_code", "refresh_token"],
            response_types=["code"],
        ),
        storage=Storage(client),
        redirect_handler=person.open,
        callback_handler=person.come_back,
        client_metadata_url=CLIENT_METADATA_URL,
    )


async def _of_enterprise(url: str, given: Mapping[str, Any]) -> httpx2.Auth:
    """An assertion of the enterprise's identity provider in exchange for a token of the server's."""
    async with httpx2.AsyncClient(timeout=SECONDS) as client:
        found = await client.get(build_protected_resource_metadata_discovery_urls(None, url)[0])
    issuer = found.raise_for_status().json()["authorization_servers"][0]

    async def assertion(audience: str, resource: str) -> str:
        fields = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "requested_token_type": "urn:ietf:params:oauth:token-type:id-jag",
            "subject_token": given["idp_id_token"],
            "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
            "audience": audience,
            "resource": resource,
            "client_id": given["idp_client_id"],
        }
        async with httpx2.AsyncClient(timeout=SECONDS) as client:
            answer = await client.post(given["idp_token_endpoint"], data=fields)
        token: str = answer.raise_for_status().json()["access_token"]
        return token

    return IdentityAssertionOAuthProvider(
        server_url=url,
        storage=Storage(),
        client_id=given["client_id"],
        client_secret=given["client_secret"],
        issuer=issuer,
        assertion_provider=assertion,
        token_endpoint_auth_method="client_secret_basic",  # noqa: S106 (a method)
    )
