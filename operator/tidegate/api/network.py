"""Who may connect to a deployment's pods, and where they may connect to, beyond what every deployment needs."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar

from pydantic import Field

from tidegate.api.rules import ApiModel, Rule
from tidegate.api.scalars import NUMBER, Flag, LabelKey, LabelValue, matches

OCTET = r"(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
V4 = rf"({OCTET}\.){{3}}{OCTET}/(3[0-2]|[12]?[0-9])"
# No leading zero: an IPv4 address in IPv6 letters means one thing to one network plugin and another to the next.
GROUP, FIRST = "[0-9a-f]{1,4}", "[1-9a-f][0-9a-f]{0,3}"
V6_ADDRESS = rf"{FIRST}(:{GROUP}){{7}}|{FIRST}(:{GROUP}){{0,6}}::|{FIRST}(:{GROUP}){{0,5}}::{GROUP}|::"
V6 = rf"({V6_ADDRESS})/(12[0-8]|1[01][0-9]|[1-9]?[0-9])"
# Link-local networks, and the addresses of tidegate.bundle.addresses: where clouds give out credentials.
METADATA = r"^(169\.254\.|fe[89ab][0-9a-f]:|100\.100\.100\.200/|192\.0\.0\.192/|fd00:ec2::254/|fd20:ce::254/)"

Cidr = Annotated[
    str,
    Field(min_length=1, max_length=43),
    matches(f"^({V4}|{V6})$", "write a network such as 10.20.0.0/16 or fd00:1::/48, one address as 10.20.0.7/32"),
    Rule(
        f"!self.matches('{METADATA}')".replace("\\", "\\\\"),
        "this is where clouds give out credentials: whoever runs the operator opens such an address with "
        "--identity-endpoints",
        lambda cidr: not re.search(METADATA, cidr),
    ),
]
NamespaceName = Annotated[
    str,
    Field(min_length=1, max_length=63),
    matches(r"^(\*|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$", "write the name of a namespace, or '*' for all of them"),
]
Port = Annotated[int, Field(ge=1, le=65535), NUMBER]


class Peer(ApiModel):
    """Pods, or addresses outside of the cluster."""

    RULES: ClassVar = (
        Rule(
            "has(self.cidr) != (has(self.namespace) || has(self.pods))",
            "write either cidr, or namespace, pods or both",
            lambda peer: (peer.cidr is not None) != (peer.namespace is not None or peer.pods is not None),
        ),
    )
    namespace: NamespaceName | None = Field(
        None, description="Namespace of the pods, * for all; the ModelDeployment's own when not given."
    )
    pods: Annotated[dict[LabelKey, LabelValue], Field(min_length=1, max_length=2)] | None = Field(
        None, description="Labels that the pods have; all pods of the namespace when not given."
    )
    cidr: Cidr | None = Field(
        None,
        description="A network outside of the cluster. Name pods by their labels: some network plugins never "
        "count them by address.",
    )


class Reach(ApiModel):
    """Something that the pods may connect to."""

    to: Peer = Field(description="What they may connect to.")
    ports: Annotated[tuple[Port, ...], Field(min_length=1, max_length=4)] = Field(
        description="Its TCP ports, those of the pods where a Service stands before them."
    )


class NetworkPolicy(ApiModel):
    """The NetworkPolicy of the deployment's pods."""

    enabled: Flag = Field(True, description="Whether there is one; without it the pods are open to everybody.")
    clients: Annotated[tuple[Peer, ...], Field(max_length=8)] = Field(
        (),
        description="Who may send requests to the model: a gateway in front of it must be one of them. Everybody when "
        "empty.",
    )
    egress: Annotated[tuple[Reach, ...], Field(max_length=4)] = Field(
        (),
        description="What the pods may connect to besides DNS, the bundle's store, each other and a collector of "
        "traces: a store inside of the cluster on another port than 443, for example.",
    )
