"""The token of one session: it can be renewed, and ends the session once it does not hold."""

from __future__ import annotations

from cecochat.auth.tokens import Identity, Verifier
from cecochat.domain.errors import Refusal
from cecochat.domain.session import frames
from cecochat.domain.session.session import Session
from cecochat.v1 import errors_pb2

WARNING_S = 30.0
CHECK_S = 15.0


class SessionToken:
    """The token with which a session was opened, or the one that the client has sent since."""

    def __init__(
        self, session: Session, verifier: Verifier, token: str, identity: Identity
    ) -> None:
        self.welcomed = False  # before that, the client is not warned
        self._session = session
        self._verifier = verifier
        self._token, self._identity = token, identity
        self._check_at_s = 0.0
        self._warned = False

    def renew(self, token: str) -> None:
        """Take a newer token of the same user. Raises `Refusal`."""
        identity = self._verifier.verify(token)
        if identity.user_id != self._session.user_id:
            raise Refusal(
                errors_pb2.ERROR_CODE_FORBIDDEN,
                "renewed_token is for another user: open a new stream for that user",
            )
        self._token, self._identity = token, identity
        self._check_at_s, self._warned = 0.0, False

    def end_if_refused(self) -> None:
        """End the session if its token is revoked, or its user is banned."""
        try:
            self._verifier.check_revoked(self._identity)
        except Refusal as refusal:
            self._session.close(refusal)

    def check(self, now_s: float) -> None:
        """End the session if its token has expired or its key was withdrawn, and warn the client
        before the token expires. Call this about once a second.
        """
        left_s = self._identity.expires_at_s - now_s
        if now_s < self._check_at_s and left_s > WARNING_S:
            return
        self._check_at_s = now_s + CHECK_S
        try:
            self._verifier.verify(self._token)
        except Refusal as refusal:
            self._session.close(refusal)
            return
        if left_s <= WARNING_S and self.welcomed and not self._warned:
            self._warned = True
            self._session.push(frames.token_expiring(int(left_s * 1_000)))
