"""PyPI's `authlib` as an authorization server for one client, which comes as a line of JSON once its redirect is known.

Whoever is sent here allows everything. What it grants and revokes it tells on standard output.
"""

import json
import os
import sys
import threading
import time

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import grants
from authlib.oauth2.rfc6749.models import AuthorizationCodeMixin, ClientMixin, TokenMixin
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7523 import JWTBearerGrant
from authlib.oauth2.rfc7636 import CodeChallenge
from flask import Flask, request
from joserfc import jwk
from werkzeug.serving import make_server

GRANTS = [
    "authorization_code",
    "refresh_token",
    "client_credentials",
    "urn:ietf:params:oauth:grant-type:jwt-bearer",
]
told = {}
codes = {}
tokens = []


def tell(line):
    print(line, flush=True)


class Client(ClientMixin):
    def __init__(self, client_id):
        self.client_id = client_id

    def get_client_id(self):
        return self.client_id

    def get_default_redirect_uri(self):
        return told["redirect_uri"]

    def get_allowed_scope(self, scope):
        return " ".join(one for one in (scope or "").split() if one in ("read", "write"))

    def check_redirect_uri(self, redirect_uri):
        return redirect_uri == told["redirect_uri"]

    def check_client_secret(self, client_secret):
        return client_secret == told["client_secret"]

    def check_endpoint_auth_method(self, method, endpoint):
        return method in ("client_secret_basic", "client_secret_post")

    def check_response_type(self, response_type):
        return response_type == "code"

    def check_grant_type(self, grant_type):
        return grant_type in GRANTS


class Code(AuthorizationCodeMixin):
    def __init__(self, code, asked):
        payload = asked.payload
        self.code, self.client_id = code, payload.client_id
        self.redirect_uri, self.scope = payload.redirect_uri, payload.scope
        self.code_challenge = payload.data.get("code_challenge")
        self.code_challenge_method = payload.data.get("code_challenge_method")

    def get_redirect_uri(self):
        return self.redirect_uri

    def get_scope(self):
        return self.scope


class Token(TokenMixin):
    def __init__(self, token):
        self.token, self.revoked, self.issued = token, False, time.time()
        self.scope = token.get("scope", "")

    def check_client(self, client):
        return True

    def get_scope(self):
        return self.scope

    def get_expires_in(self):
        return self.token["expires_in"]

    def is_expired(self):
        return time.time() > self.issued + self.get_expires_in()

    def is_revoked(self):
        return self.revoked

    def get_user(self):
        return "someone"

    def get_client(self):
        return Client(told["client_id"])


def found(value, *kinds):
    return next((one for one in tokens if any(one.token.get(kind) == value for kind in kinds)), None)


class ByCode(grants.AuthorizationCodeGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic", "client_secret_post"]

    def save_authorization_code(self, code, request):
        codes[code] = Code(code, request)

    def query_authorization_code(self, code, client):
        return codes.get(code)

    def delete_authorization_code(self, authorization_code):
        codes.pop(authorization_code.code, None)

    def authenticate_user(self, authorization_code):
        return "someone"


class Refreshing(grants.RefreshTokenGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic", "client_secret_post"]
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token):
        token = found(refresh_token, "refresh_token")
        return token if token and not token.revoked else None

    def authenticate_user(self, refresh_token):
        return "someone"

    def revoke_old_credential(self, refresh_token):
        refresh_token.revoked = True


class ByClient(grants.ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic", "client_secret_post"]


class ByAssertion(JWTBearerGrant):
    def resolve_issuer_client(self, issuer):
        return Client(issuer) if issuer == told.get("issuer") else None

    def resolve_client_public_key(self, client):
        return jwk.import_key(told["public_key"], told["key_type"])

    def authenticate_user(self, subject):
        return subject

    def has_granted_permission(self, client, user):
        return True

    def get_audiences(self):
        return ["login.example.com"]


class Revoking(RevocationEndpoint):
    CLIENT_AUTH_METHODS = ["client_secret_basic", "client_secret_post"]

    def query_token(self, token_string, token_type_hint):
        return found(token_string, "access_token", "refresh_token")

    def revoke_token(self, token, request):
        token.revoked = True
        tell("revoked")


def save(token, request):
    tokens.append(Token(token))
    tell(f"granted {request.payload.grant_type}")


app = Flask(__name__)
app.config["OAUTH2_REFRESH_TOKEN_GENERATOR"] = True
server = AuthorizationServer(app, query_client=lambda id: Client(id) if id == told["client_id"] else None, save_token=save)
server.register_grant(ByCode, [CodeChallenge(required=True)])
for grant in (Refreshing, ByClient, ByAssertion):
    server.register_grant(grant)
server.register_endpoint(Revoking)


@app.get("/authorize")
def authorize():
    grant = server.get_consent_grant(end_user="someone")
    return server.create_authorization_response(grant=grant, grant_user="someone")


@app.post("/token")
def token():
    response = server.create_token_response()
    if response.status_code != 200:
        tell(f"refused {response.get_data(as_text=True)}")
    return response


@app.post("/revoke")
def revoke():
    return server.create_endpoint_response(Revoking.ENDPOINT_NAME)


listening = make_server("127.0.0.1", 0, app, threaded=True)
tell(f"listens on {listening.server_port}")
threading.Thread(target=listening.serve_forever, daemon=True).start()
for line in sys.stdin:
    told.update(json.loads(line))
    tell("ready")
