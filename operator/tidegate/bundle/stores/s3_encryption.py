"""Encryption at rest in S3: with a key of the customer's own (SSE-C), or one of the store's key service (SSE-KMS).

With SSE-C the key travels with every request, so it is never sent without TLS but to this machine.  With SSE-KMS only
writes name the key: who may read is the store's to judge.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tidegate.errors import Invalid

CUSTOMER_KEY = "S3_SSE_CUSTOMER_KEY"
KMS_KEY_ID = "S3_SSE_KMS_KEY_ID"
KEY_BYTES = 32
HEADER = "x-amz-server-side-encryption-customer-"


@dataclass(frozen=True, slots=True)
class Encryption:
    """How files are encrypted at rest; both empty: as the bucket says."""

    customer_key: bytes = field(default=b"", repr=False)
    kms_key_id: str = ""

    def headers(self) -> dict[str, str]:
        """What every request that reads a file has to say."""
        if not self.customer_key:
            return {}
        return {
            f"{HEADER}algorithm": "AES256",
            f"{HEADER}key": base64.b64encode(self.customer_key).decode(),
            f"{HEADER}key-MD5": base64.b64encode(hashlib.md5(self.customer_key).digest()).decode(),  # noqa: S324  (S3's)
        }

    def reading(self) -> dict[str, Any]:
        """The same as arguments of boto3."""
        return {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": self.customer_key} if self.customer_key else {}

    def writing(self) -> dict[str, Any]:
        """The arguments of boto3 for a file that is written."""
        if self.kms_key_id:
            return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self.kms_key_id}
        return self.reading()


def encryption_in(given: Mapping[str, str], *, protected: bool) -> Encryption:
    """What the credentials say; `protected`: the way to the store is TLS, or does not leave this machine."""
    text, kms_key_id = given.get(CUSTOMER_KEY, "").strip(), given.get(KMS_KEY_ID, "").strip()
    if text and kms_key_id:
        raise Invalid("two ways to encrypt", where=f"{CUSTOMER_KEY} {KMS_KEY_ID}", do="give one of them")
    if not text:
        return Encryption(kms_key_id=kms_key_id)
    try:
        key = base64.b64decode(text, validate=True)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise Invalid("is no key of 32 bytes in base64", where=CUSTOMER_KEY, do="make one: openssl rand -base64 32")
    if not protected:
        raise Invalid("an encryption key is not sent without TLS", where=CUSTOMER_KEY, do="use an https:// endpoint")
    return Encryption(customer_key=key)
