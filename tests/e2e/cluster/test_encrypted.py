"""An encrypted bundle on a real node: where its plain text is, whose memory that is, and that it survives a server."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.control_plane.resources import Object
from tests.e2e.cluster.story import Story
from tests.runtime import small_bundles as small

from tidegate.bundle.encryption import encrypt, generate_identity
from tidegate.bundle.manifest import BundleDir
from tidegate.bundle.push import push
from tidegate.bundle.source import Access

MIB = 2**20
MARK = b"these weights are nobody else's"
LARGE = 32 * MIB  # of the model, so that its memory is told from everything else's
LIMIT = 512  # MiB, of story.RESOURCES
CONTROLLED = Path("/sys/fs/cgroup/memory")


def test_an_encrypted_bundle_is_served_and_nothing_but_memory_volumes_holds_its_plain_text(
    story: Story, tmp_path: Path
) -> None:
    began, sealed = time.time(), published(story, tmp_path)
    key = {"decryption": {"keySecretRef": {"name": "model-key", "key": "age.key"}}}
    bundle = {"uri": f"{story.shelf.address}/sealed", "secretRef": {"name": "store"}, **key}

    story.given.a_model("sealed", bundle=bundle)
    story.when.a_server_gets(signal.SIGKILL)
    story.then.a_server_was_restarted().has_servers(1).answers()
    story.given.steady_clients()
    story.then.all_answers_come_from("sealed").no_client_saw_an_error()

    [pod] = story.servers()
    volumes = story.node.plane.place.folder / f"kubelet/pods/{pod['metadata']['uid']}/volumes/kubernetes.io~empty-dir"
    assert list(with_plain_text(story.node.plane.place.folder, began)) == [volumes / "plain/model/model.onnx"]
    assert file_system(volumes / "plain/model/model.onnx") == file_system(volumes / "tmp") == "tmpfs"
    assert (volumes / "bundles/model/model.onnx").read_bytes().startswith(b"age-encryption.org/")

    group, room = group_of(pod), -(-sealed.manifest.plain_room // MIB)
    assert group.limit == (LIMIT + room) * MIB
    [server] = [one for one in group.containers if one.limit == LIMIT * MIB]
    # What the init step wrote is still charged to the pod, and to none of the containers that it has now.
    assert group.used - sum(one.used for one in group.containers) > LARGE
    assert server.used < LIMIT * MIB


def published(story: Story, folder: Path) -> BundleDir:
    """`sealed`, in the store; its key in a Secret, and its plain text nowhere any more."""
    graph = small.linear()
    graph.doc_string = (MARK * (LARGE // len(MARK) + 1)).decode()
    plain = small.write_bundle(folder / "plain", graph, small.linear_samples(), version="sealed")
    generate_identity(folder / "age.key", folder / "age.pub")
    sealed = encrypt(plain, folder / "sealed", [(folder / "age.pub").read_text()])
    shutil.rmtree(plain)
    push(sealed.path, f"{story.shelf.address}/sealed", access=Access(story.shelf.server.credentials()))
    key: Object = {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "model-key", "namespace": story.namespace},
        "stringData": {"age.key": (folder / "age.key").read_text()},
    }  # fmt: skip
    story.node.kubectl("apply", "-f", "-", given=json.dumps(key))
    return sealed


# -- where the plain text is


def with_plain_text(folder: Path, since: float) -> Iterator[Path]:
    """Files of the node, written since then, in which the model can be read: of pods, containers and the kubelet."""
    for path in folder.rglob("*"):
        try:
            if path.is_file() and not path.is_symlink() and path.stat().st_mtime >= since and is_plain(path):
                yield path
        except OSError:  # it went away meanwhile
            continue


def is_plain(path: Path) -> bool:
    with path.open("rb") as file:
        rest = b""
        while block := file.read(MIB):
            if MARK in rest + block:
                return True
            rest = block[-len(MARK) :]
    return False


def file_system(path: Path) -> str:
    """Its kind, by the kernel's list of mounts."""
    device = path.stat().st_dev
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        major, minor = map(int, before.split()[2].split(":"))
        if os.makedev(major, minor) == device:
            return after.split()[0]
    raise LookupError(f"{path} is on no mount")


# -- whose memory it is


@dataclass(frozen=True, slots=True)
class Group:
    """A control group's memory, in bytes."""

    limit: int
    used: int
    containers: tuple[Group, ...] = ()


def group_of(pod: Object) -> Group:
    """A pod's, with those of its containers, the sandbox's included."""
    [folder] = CONTROLLED.rglob(f"pod{pod['metadata']['uid']}")
    return measured(folder, tuple(measured(one) for one in folder.iterdir() if one.is_dir()))


def measured(folder: Path, containers: tuple[Group, ...] = ()) -> Group:
    limit, used = (folder / f"memory.{name}_in_bytes" for name in ("limit", "usage"))
    return Group(int(limit.read_text()), int(used.read_text()), containers)
