"""Writes what is in an image as CycloneDX 1.6: run by the Containerfile in a stage that has what the image will have.

Python's packages come from pip's own report of what it installed, Debian's from their list, and the C that we and the
wheels brought from the files.  The same content gives the same bytes: no time, and a serial number made of the content.

Usage: sbom.py --name NAME --version VERSION --report FILE --packages FOLDER [--native FILE]... [--debian FILE]
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import platform
import re
import sys
import uuid
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.spdx import is_expression, is_supported_id
from packageurl import PackageURL

NAMESPACE = uuid.UUID("5c0cf8b0-7d4b-5e0c-9f57-2d6e7f3a1f00")  # of our serial numbers; any will do, once chosen
LONGEST_LICENSE = 100  # characters; more is no name


def main(words: list[str]) -> None:
    """Write the document of the image that `words` describe to stdout."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--name", required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--report", type=Path, required=True, help="of `pip install --report`")
    parser.add_argument("--packages", type=Path, required=True, help="the folder that they were installed in")
    parser.add_argument(
        "--native", type=Path, action="append", default=[], help="a file that was compiled for the image"
    )
    parser.add_argument("--debian", type=Path, default=Path("/var/lib/dpkg/status"))
    given = parser.parse_args(words)
    components = [
        interpreter(),
        *(wheel(one, given.packages) for one in json.loads(given.report.read_text())["install"]),
        *(compiled(path) for path in given.native),
        *debian(given.debian.read_text(), release()),
    ]
    sys.stdout.write(document(given.name, given.version, components))


def document(name: str, version: str, components: list[Component]) -> str:
    """The text of the document, the same for the same components."""
    image = Component(
        name=name, version=version, type=ComponentType.CONTAINER, bom_ref=name, licenses=licenses(["Apache-2.0"])
    )
    bom = Bom(components=components, metadata=BomMetaData(component=image))
    bom.metadata.timestamp = None  # type: ignore[assignment]  # the library's default is now
    bom.register_dependency(image, components)
    bom.serial_number = uuid.UUID(int=0)
    bom.serial_number = uuid.uuid5(NAMESPACE, written(bom))
    return written(bom)


def written(bom: Bom) -> str:
    return f"{JsonV1Dot6(bom).output_as_string(indent=1)}\n"


def interpreter() -> Component:
    version = platform.python_version()
    return Component(
        name="cpython",
        version=version,
        bom_ref="cpython",
        purl=PackageURL("generic", name="python", version=version),
        cpe=f"cpe:2.3:a:python:python:{version}:*:*:*:*:*:*:*",
        licenses=licenses(["PSF-2.0"]),
    )


def wheel(installed: dict[str, Any], packages: Path) -> Component:
    """One entry of pip's report: the wheel by its hash, and the C libraries that it carries along."""
    about, archive = installed["metadata"], installed["download_info"]["archive_info"]
    name = re.sub(r"[-_.]+", "-", about["name"]).lower()
    purl = PackageURL("pypi", name=name, version=about["version"])
    return Component(
        name=name,
        version=about["version"],
        description=about.get("summary"),
        bom_ref=purl.to_string(),
        purl=purl,
        hashes=[sha256(archive["hashes"]["sha256"])],
        licenses=licenses(named_licenses(about)),
        components=list(carried(packages, name)),
    )


def named_licenses(about: dict[str, Any]) -> list[str]:
    """What a package says its licence is: what SPDX knows of it, else its classifiers, else its words."""
    words = str(about.get("license_expression") or about.get("license") or "").strip()
    if words and (is_supported_id(words) or is_expression(words)):
        return [words]
    classifiers = [
        found.rpartition(" :: ")[2] for found in about.get("classifier", []) if found.startswith("License ::")
    ]
    return classifiers or [words.partition("\n")[0][:LONGEST_LICENSE] or "not stated"]


def licenses(names: list[str]) -> list[License]:
    """CycloneDX takes one expression or several licences."""
    factory = LicenseFactory()
    return [factory.make_from_string(names[0])] if len(names) == 1 else [factory.make_with_name(one) for one in names]


def carried(packages: Path, name: str) -> Iterator[Component]:
    """Libraries that a wheel's maker put into its folder `NAME.libs`, from the wheel's list of its files."""
    [installed] = distributions(path=[str(packages)], name=name)
    for file in installed.files or ():
        if file.parts[0].endswith(".libs") and file.hash is not None:
            content = base64.urlsafe_b64decode(file.hash.value + "=")
            yield Component(name=file.name, bom_ref=str(file), hashes=[sha256(content.hex())])


def compiled(path: Path) -> Component:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Component(
        name=path.name,
        type=ComponentType.FILE,
        bom_ref=path.name,
        hashes=[sha256(digest)],
        licenses=licenses(["Apache-2.0"]),
    )


def debian(status: str, distribution: str) -> Iterator[Component]:
    """The packages of dpkg's list."""
    for paragraph in status.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Version|Architecture|Status|Source): (.*)$", paragraph, re.MULTILINE))
        if fields.get("Status") != "install ok installed":
            continue
        qualifiers = {"arch": fields["Architecture"], "distro": distribution}
        purl = PackageURL("deb", "debian", fields["Package"], fields["Version"], qualifiers)
        yield Component(name=fields["Package"], version=fields["Version"], bom_ref=purl.to_string(), purl=purl)


def release() -> str:
    about = platform.freedesktop_os_release()
    return f"{about['ID']}-{about.get('VERSION_ID', '')}"


def sha256(digest: str) -> HashType:
    return HashType(alg=HashAlgorithm.SHA_256, content=digest)


if __name__ == "__main__":
    main(sys.argv[1:])
