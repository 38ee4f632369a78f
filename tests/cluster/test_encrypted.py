"""Encrypted bundles in a cluster: only pods read the Secret with the key, and only their memory holds plain text."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.faults import answer_jobs
from tests.cluster.operating import Operator, Site, fact, resolves, serves
from tests.control_plane.plane import Plane
from tests.control_plane.resources import Object
from tests.local.local_run import bundles

from tidegate.bundle.encryption import encrypt, generate_identity

pytestmark = pytest.mark.slow
OPENS = {"decryption": {"keySecretRef": {"name": "model-key", "key": "fraud.key"}}}


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder with two pairs of age keys."""
    for name in ("age", "other"):
        generate_identity(tmp_path / f"{name}.key", tmp_path / f"{name}.pub")
    return tmp_path


@pytest.fixture
def site(control_plane: Plane, namespace: str, keys: Path) -> Site:
    """v1 is encrypted for the first key, v2 for the second one, v3 is not."""
    made, store = bundles(keys / "made"), keys / "store"
    for version, name in (("v1", "age"), ("v2", "other")):
        encrypt(made / version, store / version, [(keys / f"{name}.pub").read_text()])
    (made / "big").rename(store / "v3")
    found = Site(control_plane, namespace)
    found.mount(store)
    return found


def keep(site: Site, file: Path, key: str = "fraud.key", name: str = "model-key") -> None:
    """A Secret with this age key."""
    site.plane.client.apply({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": site.namespace},
        "data": {key: base64.b64encode(file.read_bytes()).decode()},
    })  # fmt: skip


def of(version: str) -> Object:
    return {"uri": f"pvc://models/{version}", **OPENS}


def again(site: Site, refused: Object) -> None:
    site.command("retry", f"{refused['status']['resolution']['key']}@{datetime.now(UTC).isoformat()}")


def test_an_encrypted_bundle_serves_when_the_right_key_is_there_and_says_until_then_what_is_missing(
    operator: Operator, site: Site, keys: Path
) -> None:
    site.apply(bundle=of("v1"))
    refused = site.until_reason("Stalled", "SecretMissing")
    message = fact(refused, "Stalled")["message"]
    assert "/fraud.key: no such key: add it to the Secret" in message

    keep(site, keys / "other.key")
    again(site, refused)
    refused = site.until_reason("Stalled", "DecryptionKeyWrong")
    assert "name the key of a recipient" in fact(refused, "Stalled")["message"]
    assert {one["class"] for one in refused["status"]["rejected"]} == {"Environment"}

    keep(site, keys / "age.key")
    again(site, refused)
    found = site.until_serving("v1", 60)

    [server] = site.servers()
    volumes = {one["name"]: one for one in server["spec"]["volumes"]}
    assert volumes["plain"]["emptyDir"]["medium"] == "Memory"
    mounted = {mount["name"] for mount in server["spec"]["containers"][0]["volumeMounts"]}
    assert {"plain"} == mounted & {"plain", "bundles", "decryption"}
    shown = str(found) + str(site.events()) + operator.log.read_text()
    assert (keys / "age.key").read_text().strip() not in shown


def test_a_version_that_the_key_does_not_open_leaves_the_one_that_serves(
    operator: Operator, site: Site, keys: Path
) -> None:
    keep(site, keys / "age.key")
    site.apply(bundle=of("v1"))
    site.until_serving("v1", 60)

    site.apply(bundle=of("v2"))
    found = site.until_reason("Stalled", "DecryptionKeyWrong")
    assert serves(found, "v1")

    # Both keys in one Secret: each version finds its own, and the next pods of v1 still do.
    (keys / "both.key").write_text((keys / "age.key").read_text() + (keys / "other.key").read_text())
    keep(site, keys / "both.key")
    again(site, found)
    site.until_serving("v2", 60)
    site.apply(bundle=of("v1"))
    assert serves(site.until_serving("v1", 60), "v1")


def test_a_restart_that_comes_with_another_secret_takes_that_one_up(operator: Operator, site: Site, keys: Path) -> None:
    keep(site, keys / "age.key")
    site.apply(bundle=of("v1"))
    stable = site.until_serving("v1", 60)["status"]["stable"]["revision"]

    keep(site, keys / "age.key", "next.key", "next-key")
    site.apply(bundle=of("v1") | {"decryption": {"keySecretRef": {"name": "next-key", "key": "next.key"}}})
    site.command("restart", f"{stable}@{datetime.now(UTC).isoformat()}")
    found = site.until(lambda one: serves(one, "v1") and one["status"]["stable"]["revision"] != stable, 60)

    now = found["status"]["stable"]["revision"]
    [pod] = [one for one in site.servers() if one["metadata"]["labels"]["serving.tidegate.io/revision"] == now]
    [opened] = [one["secret"] for one in pod["spec"]["volumes"] if one["name"] == "decryption"]
    assert opened["secretName"] == "next-key"


def test_an_encrypted_bundle_without_a_key_is_refused_for_good(operator: Operator, site: Site, keys: Path) -> None:
    site.apply(bundle={"uri": "pvc://models/v1"})
    found = site.until_reason("Stalled", "BundleEncrypted")

    assert "name its age key in bundle.decryption" in fact(found, "Stalled")["message"]
    assert found["status"]["rejected"][0]["class"] == "Content"
    assert site.servers() == []

    keep(site, keys / "age.key")
    site.apply(bundle=of("v1"))
    site.until_serving("v1", 60)


def test_a_key_for_a_bundle_that_is_not_encrypted_is_not_even_looked_for(operator: Operator, site: Site) -> None:
    site.apply(bundle=of("v3"))
    site.until_serving("big", 60)

    [server] = site.servers()
    assert "model-key" not in str(server["spec"])


def test_before_a_server_stops_for_it_an_encrypted_bundle_is_proved_in_memory(
    operator: Operator, site: Site, keys: Path
) -> None:
    (keys / "both.key").write_text((keys / "age.key").read_text() + (keys / "other.key").read_text())
    keep(site, keys / "both.key")
    replace: dict[str, Any] = {"rollout": {"surge": "Replace", "allowDowntime": True, "steps": []}}
    site.apply(bundle=of("v1"), **replace)
    site.until_serving("v1", 60)

    site.apply(bundle=of("v2"), **replace)
    site.until_serving("v2", 60)

    proofs = [job["spec"]["template"]["spec"] for job in site.children("jobs")]
    proving = [pod for pod in proofs if pod["containers"][0]["args"][0] == "prove"]
    assert len(proving) == 1
    volumes = {one["name"]: one.get("emptyDir", {}) for one in proving[0]["volumes"]}
    assert {name: volumes[name].get("medium") for name in ("plain", "tmp", "work")} == {
        "plain": "Memory", "tmp": "Memory", "work": None,
    }  # fmt: skip


def test_the_memory_of_the_plain_text_is_asked_for_beside_the_servers_own(operator: Operator, site: Site) -> None:
    answer_jobs(site, resolves(v1={"plainBytes": 512 * 2**20}))
    site.simulate("v1", bundle=OPENS, runtime={"resources": {"limits": {"memory": "1Gi"}}})
    site.until_serving("v1")

    [server] = site.servers()
    fetch, serve = server["spec"]["initContainers"][0], server["spec"]["containers"][0]
    assert fetch["resources"]["limits"]["memory"] == "1536Mi"
    assert serve["resources"]["limits"]["memory"] == "1Gi"
