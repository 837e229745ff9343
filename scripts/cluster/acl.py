"""The ACL of Consul: a policy and a token for each who asks it anything. Done again, it changes
what has changed.

The token that may do all is made by the call that only the first can make, not by the agents'
configuration: so it lies on one guest alone, and is root's.
"""

from __future__ import annotations

import http.client
import json
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from typing import Any

from scripts.backends.instance import Failed
from scripts.cluster import plan

WITHIN_S = 120.0
POLL_S = 0.5
ASK_S = 10.0
CANNOT = (
    "Consul has an ACL that another token has begun: give the host its .vagrant/cluster/secure "
    "back, or begin anew (docs/how-to/secure-a-test-cluster.md)"
)

POLICIES: Mapping[str, str] = {
    # The agents, which enter themselves and their checks into the catalog.
    "agent": """\
node_prefix "server" { policy = "write" }
service_prefix "" { policy = "read" }
""",
    # The servers and the commands: who is there, who leads, and whose turn it is to stop.
    "cecochat": """\
service_prefix "cecochat-" { policy = "write" }
node_prefix "" { policy = "read" }
session_prefix "server" { policy = "write" }
key_prefix "cecochat/leaders/" { policy = "write" }
""",
    # Itself, and the services of the jobs, which are all called nomad-*.
    "nomad": """\
agent_prefix "" { policy = "read" }
node_prefix "" { policy = "read" }
service_prefix "nomad" { policy = "write" }
""",
    "prometheus": """\
agent_prefix "" { policy = "read" }
node_prefix "" { policy = "read" }
service_prefix "cecochat-" { policy = "read" }
""",
}


class Refused(Exception):
    """Consul has answered with another status than 200."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"{status} {said}")
        self.status = status


class Acl:
    """The ACL of a Consul, changed with the token that may do everything."""

    def __init__(self, host: str, port: int, management: str) -> None:
        self._host, self._port = host, port
        self._management = management

    def begin(self) -> bool:
        """Make the token that may do everything, and return whether there was none.

        Raises Failed, Refused.
        """
        try:
            self._ask("GET", "token/self")
        except Refused as refused:
            if refused.status != http.client.FORBIDDEN:
                raise
        else:
            return False
        try:
            self._ask("PUT", "bootstrap", {"BootstrapSecret": self._management})
        except Refused as refused:
            if refused.status == http.client.FORBIDDEN:
                raise Failed(CANNOT) from None
            raise
        return True

    def policy(self, name: str, rules: str) -> bool:
        """Set a policy, and return whether that changed anything. Raises Refused."""
        policy_ids = {each["Name"]: each["ID"] for each in self._ask("GET", "policies")}
        if name not in policy_ids:
            self._ask("PUT", "policy", {"Name": name, "Rules": rules})
            return True
        path = f"policy/{policy_ids[name]}"
        if self._ask("GET", path)["Rules"] == rules:
            return False
        self._ask("PUT", path, {"Name": name, "Rules": rules})
        return True

    def token(self, name: str, secret: str) -> bool:
        """Make a token with the policy of the same name. Return whether there was none.

        Raises Refused.
        """
        accessor = str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.cecochat"))
        if accessor in {token["AccessorID"] for token in self._ask("GET", "tokens")}:
            return False
        wanted = {"AccessorID": accessor, "SecretID": secret, "Description": name}
        self._ask("PUT", "token", wanted | {"Policies": [{"Name": name}]})
        return True

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=ASK_S)
        with closing(connection):
            headers = {"X-Consul-Token": self._management}
            connection.request(method, f"/v1/acl/{path}", json.dumps(body or {}), headers)
            answer = connection.getresponse()
            said = answer.read()
        if answer.status != http.client.OK:
            raise Refused(answer.status, said.decode(errors="replace").strip())
        return json.loads(said)


def apply(
    management: str, tokens: Mapping[str, str], host: str = "127.0.0.1", port: int = plan.CONSUL
) -> list[str]:
    """Set up the whole ACL, and return what has changed. Raises Failed.

    It waits while Consul has no leader.
    """
    acl = Acl(host, port, management)
    steps: dict[str, Callable[[], bool]] = {"management": acl.begin}
    for name, rules in POLICIES.items():
        steps[f"policy {name}"] = partial(acl.policy, name, rules)
        steps[f"token {name}"] = partial(acl.token, name, tokens[name])
    until = time.monotonic() + WITHIN_S
    return [what for what, step in steps.items() if _done(step, what, until)]


def _done(step: Callable[[], bool], what: str, until: float) -> bool:
    """Try a step until Consul answers. Each step can be repeated."""
    while True:
        try:
            return step()
        except (OSError, http.client.HTTPException, Refused) as error:
            if time.monotonic() > until:
                raise Failed(f"the ACL of Consul, {what}: {error}") from None
            time.sleep(POLL_S)
