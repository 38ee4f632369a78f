"""How requests find the model from outside."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tidegate.api.rules import ApiModel, Rule
from tidegate.api.scalars import ObjectName, matches

HOSTNAME = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
Hostname = Annotated[
    str,
    Field(min_length=1, max_length=253),
    matches(HOSTNAME, "write a host name in lower case, such as fraud.example.com or *.example.com"),
    Rule(
        "!self.matches('^[0-9.]+$')",
        "write a host name: an IP address cannot be routed by name",
        lambda name: not all(char in "0123456789." for char in name),
    ),
]
Hostnames = Annotated[tuple[Hostname, ...], Field(max_length=8)]
HeaderName = Annotated[str, Field(min_length=1, max_length=63)]
HeaderValue = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[!-~]+$")]
RESERVED = ("authorization", "connection", "content-length", "content-type", "host", "te", "transfer-encoding")


def free_header(name: str) -> bool:
    return (
        name not in RESERVED
        and not name.startswith("x-tidegate-")
        and all(char in "abcdefghijklmnopqrstuvwxyz0123456789-" for char in name)
    )


class ParentRef(ApiModel):
    """A Gateway, or one listener of it."""

    name: ObjectName = Field(description="Name of the Gateway.")
    namespace: ObjectName | None = Field(None, description="Its namespace; the ModelDeployment's when not given.")
    section_name: ObjectName | None = Field(None, description="One listener; all listeners when not given.")


class RouteRef(ApiModel):
    """A route that somebody else owns."""

    kind: Literal["HTTPRoute", "GRPCRoute"] = Field("HTTPRoute", description="Kind of the route.")
    name: ObjectName = Field(description="Name of the route, in the same namespace.")


class Routing(ApiModel):
    """How requests find the model from outside."""

    RULES: ClassVar = (
        Rule(
            "!has(self.existingRouteRef) || (size(self.hostnames) == 0 && size(self.grpcHostnames) == 0"
            " && size(self.parentRefs) == 0)",
            "an existing route has its own hostnames and parents: leave hostnames, grpcHostnames and parentRefs out, "
            "or leave existingRouteRef out",
            lambda routing: (
                routing.existing_route_ref is None
                or not (routing.hostnames or routing.grpc_hostnames or routing.parent_refs)
            ),
        ),
        Rule(
            "self.hostnames.all(name, !(name in self.grpcHostnames))",
            "write different names in hostnames and grpcHostnames: one listener cannot serve both under one name",
            lambda routing: not set(routing.hostnames) & set(routing.grpc_hostnames),
        ),
        Rule(
            "self.provider != 'Service' || (size(self.parentRefs) == 0 && !has(self.existingRouteRef))",
            "a plain Service has no gateway: leave parentRefs and existingRouteRef out, or write provider: GatewayAPI",
            lambda routing: routing.provider != "Service" or not (routing.parent_refs or routing.existing_route_ref),
        ),
        Rule(
            "self.provider != 'GatewayAPI' || size(self.parentRefs) > 0 || has(self.existingRouteRef)",
            "name the gateway: write parentRefs or existingRouteRef, or leave provider out",
            lambda routing: routing.provider != "GatewayAPI" or routing.parent_refs or routing.existing_route_ref,
        ),
    )
    provider: Literal["Auto", "GatewayAPI", "Service"] = Field(
        "Auto",
        description="Who splits the traffic: a gateway by weights, or a plain Service by the number of pods. Auto "
        "takes the gateway where parentRefs or existingRouteRef are given and the cluster has the Gateway API.",
    )
    parent_refs: Annotated[tuple[ParentRef, ...], Field(max_length=4)] = Field(
        (), description="Gateways that serve the model."
    )
    hostnames: Hostnames = Field((), description="Host names for REST.")
    grpc_hostnames: Hostnames = Field((), description="Host names for gRPC, which has a route of its own.")
    existing_route_ref: RouteRef | None = Field(
        None, description="A route that you keep elsewhere; only the two weights in it are written."
    )
    headers: Annotated[
        dict[HeaderName, HeaderValue],
        Field(max_length=1),
        Rule(
            "self.all(name, name.matches('^[a-z0-9-]+$') && !name.startsWith('x-tidegate-') && !(name in "
            f"[{', '.join(repr(name) for name in RESERVED)}]))",
            "write the header's name in lower case, and none that HTTP or Tidegate (x-tidegate-) needs itself",
            lambda headers: all(free_header(name) for name in headers),
        ),
    ] = Field(
        default_factory=dict,
        description="One header and its value, such as x-model-version: canary; a request that carries it goes to "
        "the candidate and enters no test.",
    )
