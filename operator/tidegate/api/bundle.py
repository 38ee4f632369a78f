"""Where a bundle is and how it is proved to be the right one."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field

from tidegate.api.rules import ApiModel, Rule
from tidegate.api.scalars import Digest, ObjectName, matches

SECRET_KEY = r"^[.]?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$"  # noqa: S105  (a form, no secret)
CREDENTIALS = r"^[a-z0-9]+://[^/]*@"
DOTS = r"(^|/)\.\.?(/|$)"
HOST = r"[a-zA-Z0-9]([-a-zA-Z0-9._]*[a-zA-Z0-9])?(:[1-9][0-9]{0,4})?"
TAG, MANIFEST = r":[a-zA-Z0-9_][-a-zA-Z0-9_.]{0,127}", r"@sha256:[0-9a-f]{64}"
URI = (
    rf"^(s3|https|pvc)://{HOST}(/[-a-zA-Z0-9._+=~]+)+/?$"
    rf"|^oci://{HOST}(/[-a-z0-9._]+)+({TAG}|{MANIFEST}|{TAG}{MANIFEST})$"
    r"|^file://(/[-a-zA-Z0-9._+=~]+)+/?$"
)


def cel(pattern: str) -> str:
    return "'" + pattern.replace("\\", "\\\\") + "'"


NO_CREDENTIALS = Rule(
    f"!self.matches({cel(CREDENTIALS)})",
    "credentials do not belong into an address: name a Secret in bundle.secretRef",
    lambda uri: not re.search(CREDENTIALS, uri),
)
NO_DOTS = Rule(
    f"!self.matches({cel(DOTS)})",
    "write the path without . and .. parts",
    lambda uri: not re.search(DOTS, uri),
)
NO_ADDRESS = Rule(
    f"!self.matches({cel(r'^[a-z0-9]+://[0-9.]+(:[0-9]+)?/')})",
    "name the host: an IP address cannot be checked against a certificate",
    lambda uri: not re.search(r"^[a-z0-9]+://[0-9.]+(:[0-9]+)?/", uri),
)
FORM = matches(
    URI,
    "write where the bundle is: s3://BUCKET/PATH, https://HOST/PATH, oci://HOST/REPOSITORY:TAG, pvc://CLAIM/PATH or "
    "file:///PATH; letters, digits and - . _ + = ~ only, no query and no fragment",
)

BundleUri = Annotated[str, Field(min_length=1, max_length=512), NO_CREDENTIALS, NO_DOTS, NO_ADDRESS, FORM]
SecretKey = Annotated[
    str,
    Field(min_length=1, max_length=63),
    matches(SECRET_KEY, "write the key of a Secret: letters, digits and - . _ only, and no .. in front"),
]


class SecretRef(ApiModel):
    """A Secret in the same namespace."""

    name: ObjectName = Field(description="Name of the Secret; it is in the namespace of the ModelDeployment.")


class SecretKeyRef(ApiModel):
    """One key of a Secret in the same namespace."""

    name: ObjectName = Field(description="Name of the Secret; it is in the namespace of the ModelDeployment.")
    key: SecretKey = Field(description="Key within the Secret.")


class Signature(ApiModel):
    """Who must have signed the bundle."""

    public_key_secret_ref: SecretKeyRef = Field(description="The public key (PEM, ECDSA P-256) of the only signer.")


class Decryption(ApiModel):
    """How an encrypted bundle is read."""

    key_secret_ref: SecretKeyRef = Field(description="The age key that decrypts the bundle, into the pod's memory.")


class BundleSource(ApiModel):
    """The model bundle to serve."""

    uri: BundleUri = Field(
        description="Where the bundle is: s3://, https://, oci://, pvc:// in a cluster; also file:// on one machine. "
        "Its content is resolved once for each change of this part of the spec and pinned by digest. "
        "A digest within an oci:// address is that of the OCI manifest."
    )
    digest: Digest | None = Field(
        None,
        description="The bundle's digest, as `tidegate pack` printed it. Anything else under that address is "
        "refused. Without it the digest found first is pinned in the status.",
    )
    secret_ref: SecretRef | None = Field(
        None,
        description="Credentials of the store: AWS_* keys, AWS_ENDPOINT_URL and a CA, or a docker config. They go "
        "only to the hosts that they are for.",
    )
    signature: Signature | None = Field(
        None, description="When given, an unsigned or wrongly signed bundle is refused."
    )
    decryption: Decryption | None = Field(
        None,
        description="Needed for encrypted bundles only. Their plain size comes on top of the pod's memory, request and "
        "limit.",
    )
