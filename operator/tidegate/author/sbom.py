"""The packages that made a bundle, as CycloneDX 1.6: what the manifest's `environment` names, and what those need.

The same packages give the same bytes: no time, and a serial number made of the content.
"""

from __future__ import annotations

import re
import uuid
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import TYPE_CHECKING

from tidegate.author.extras import need
from tidegate.bundle.manifest import Manifest

if TYPE_CHECKING:
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component
    from cyclonedx.model.license import License

SBOM = "sbom.cdx.json"
PYTHON = "python"
NAMESPACE = uuid.UUID("2a7d5c0e-6a0f-5b7e-8f55-0d2f9b1c7e31")  # of our serial numbers; any will do, once chosen
REQUIRED = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*")
OPTIONAL = re.compile(r"\bextra\s*==")
LONGEST_LICENSE = 100  # characters; more is no name


def sbom_of(manifest: Manifest) -> str:
    """The document of this bundle; raises MissingExtra without cyclonedx-python-lib."""
    need("cyclonedx", extra="sbom")
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType

    model = Component(
        name=manifest.name,
        version=manifest.version,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref="model",
        licenses=_licenses([manifest.license] if manifest.license else []),
    )
    found = installed([name for name in manifest.environment if name != PYTHON])
    parts = {name: _component(name, one) for name, one in found.items()}
    interpreter = _interpreter(str(manifest.environment.get(PYTHON, "")))
    bom = Bom(components=[interpreter, *parts.values()], metadata=BomMetaData(component=model))
    bom.metadata.timestamp = None  # type: ignore[assignment]  # the library's default is now
    bom.register_dependency(
        model, [interpreter, *(part for name, part in parts.items() if name in manifest.environment)]
    )
    for name, one in found.items():
        bom.register_dependency(parts[name], [parts[other] for other in needed(one) if other in parts])
    bom.serial_number = uuid.UUID(int=0)
    bom.serial_number = uuid.uuid5(NAMESPACE, _written(bom))
    return _written(bom)


def installed(names: list[str]) -> dict[str, Distribution]:
    """These distributions and all that they need, by their normal names, in the order of those."""
    found: dict[str, Distribution] = {}
    left = [normal(name) for name in names]
    while left:
        name = left.pop()
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:  # of another platform or Python, by the requirement's own marker
            continue
        left += needed(found[name])
    return dict(sorted(found.items()))


def needed(one: Distribution) -> list[str]:
    """What a distribution says that it needs, without its extras."""
    asked = [text for text in one.requires or () if not OPTIONAL.search(text)]
    return sorted({normal(match[0]) for text in asked if (match := REQUIRED.match(text))})


def normal(name: str) -> str:
    """A name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _component(name: str, one: Distribution) -> Component:
    from cyclonedx.model.component import Component
    from packageurl import PackageURL

    purl = PackageURL("pypi", name=name, version=one.version)
    return Component(
        name=name,
        version=one.version,
        description=_stated(one, "Summary") or None,
        bom_ref=purl.to_string(),
        purl=purl,
        licenses=_licenses(_named_licenses(one)),
    )


def _interpreter(version: str) -> Component:
    from cyclonedx.model.component import Component
    from packageurl import PackageURL

    purl = PackageURL("generic", name=PYTHON, version=version)
    return Component(name="cpython", version=version, bom_ref="cpython", purl=purl, licenses=_licenses(["PSF-2.0"]))


def _named_licenses(one: Distribution) -> list[str]:
    """What a package says its licence is: what SPDX knows of it, else its classifiers, else its first words."""
    from cyclonedx.spdx import is_expression, is_supported_id

    words = _stated(one, "License-Expression") or _stated(one, "License")
    if words and (is_supported_id(words) or is_expression(words)):
        return [words]
    classifiers = [
        text.rpartition(" :: ")[2] for text in one.metadata.get_all("Classifier", []) if text.startswith("License ::")
    ]
    return classifiers or [words.partition("\n")[0][:LONGEST_LICENSE] or "not stated"]


def _stated(one: Distribution, field: str) -> str:
    return str(next(iter(one.metadata.get_all(field) or ()), "")).strip()


def _licenses(names: list[str]) -> list[License]:
    """CycloneDX takes one expression or several licences."""
    from cyclonedx.contrib.license.factories import LicenseFactory

    factory = LicenseFactory()
    return [factory.make_from_string(names[0])] if len(names) == 1 else [factory.make_with_name(one) for one in names]


def _written(bom: Bom) -> str:
    from cyclonedx.output.json import JsonV1Dot6

    return f"{JsonV1Dot6(bom).output_as_string(indent=1)}\n"
