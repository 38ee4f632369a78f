"""Who the front proxy is, as the API server publishes it."""

from __future__ import annotations

from typing import Any

import pytest

from tidegate.cluster.metrics_api.front_proxy import FrontProxy, read_front_proxy
from tidegate.errors import Failed

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
SHOWN = {"subject": ((("organizationName", "k8s"),), (("commonName", "front-proxy-client"),))}


def config_map(**told: str) -> dict[str, Any]:
    return {"data": {name.replace("_", "-"): text for name, text in told.items()}}


def test_its_authority_and_its_names_are_read() -> None:
    told = config_map(requestheader_client_ca_file=PEM, requestheader_allowed_names='["front-proxy-client"]')

    assert read_front_proxy(told) == FrontProxy(PEM, frozenset({"front-proxy-client"}))


@pytest.mark.parametrize(
    ("names", "shown", "admitted"),
    [
        ({"front-proxy-client"}, SHOWN, True),
        ({"aggregator"}, SHOWN, False),
        (set(), SHOWN, True),  # as Kubernetes has it: any name of that authority
        ({"front-proxy-client"}, {}, False),
        (set(), None, False),
    ],
)
def test_it_is_known_by_its_name(names: set[str], shown: dict[str, Any] | None, admitted: bool) -> None:
    assert FrontProxy(PEM, frozenset(names)).admits(shown) is admitted


@pytest.mark.parametrize(
    "told",
    [
        None,
        {},
        config_map(requestheader_allowed_names="[]"),
        config_map(requestheader_client_ca_file="", requestheader_allowed_names="[]"),
        config_map(requestheader_client_ca_file=PEM, requestheader_allowed_names="front-proxy-client"),
    ],
)
def test_a_cluster_without_one_is_told_what_to_do(told: dict[str, Any] | None) -> None:
    with pytest.raises(Failed, match=r"says nothing of a front proxy.*--requestheader-client-ca-file"):
        read_front_proxy(told)
