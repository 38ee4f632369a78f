"""What can be wrong with a bundle or with the way to it.

BundleError                       (see tidegate.errors for the rest of the tree)
 ├─ Unreachable                   the store does not answer, or breaks off       exit 5, retried
 ├─ StoreTimeout                  it answers, but not within the deadline         exit 5, retried
 ├─ Denied                        credentials missing, wrong, or the clock is off exit 1, retried slowly
 ├─ NotFound                      no such bucket, version, manifest or file       exit 1
 ├─ Conflict                      the version is already another bundle           exit 1
 ├─ DiskFull                      the disk or quota here is full                  exit 1
 └─ Refused                       the bytes are not what they claim               exit 1, never retried for this digest
     ├─ ManifestInvalid           bundle.yaml does not keep to the format
     │   └─ NoBundle              what is there is something else, such as an ordinary image
     ├─ DigestMismatch            a file, or the bundle, is not the one that was named
     ├─ UnsafeFile                links, paths outside, files nobody listed
     ├─ TooLarge                  more bytes, files or nesting than the limits allow
     ├─ SignatureRefused          .reason is SignatureMissing, SignatureOtherKey or SignatureInvalid
     ├─ ModelInvalid              the model cannot run here, or is no ONNX at all
     ├─ GoldenInvalid             the golden samples cannot be read
     ├─ GoldenMismatch            the model does not give the outputs its samples promise
     └─ InterfaceChanged          inputs or outputs differ from the stable version's
"""

from __future__ import annotations

from tidegate.errors import TidegateError


class BundleError(TidegateError):
    """Something about a bundle."""

    reason = "BundleError"


class Unreachable(BundleError):
    """The store does not answer, or breaks off every time; a retry may help."""

    exit_code = 5
    reason = "Unreachable"


class StoreTimeout(Unreachable):
    """The store answers, but the work was not done within its deadline."""

    reason = "StoreTimeout"


class Denied(BundleError):
    """The store knows us not, or not for this."""

    reason = "Denied"


class NotFound(BundleError):
    """The store answers that it has no such thing."""

    reason = "NotFound"


class Conflict(BundleError):
    """The version exists already with another digest, or changed while we wrote it."""

    reason = "VersionExists"


class DiskFull(BundleError):
    """No space, or a file-size limit, on this machine."""

    reason = "DiskFull"


class Refused(BundleError):
    """The bytes are not what they claim; never retried for the same digest."""

    reason = "Refused"


class ManifestInvalid(Refused):
    """bundle.yaml does not keep to the format."""

    reason = "ManifestInvalid"


class NoBundle(ManifestInvalid):
    """Something else is there, such as an ordinary image."""


class DigestMismatch(Refused):
    """Bytes with another digest than the one that was named."""

    reason = "DigestMismatch"


class UnsafeFile(Refused):
    """A link, a path that leads outside, or a file that nobody listed."""

    reason = "UnsafeFile"


class TooLarge(Refused):
    """More bytes, files or nesting than the limits allow."""

    reason = "TooLarge"


class SignatureRefused(Refused):
    """Missing, by another key, or not a signature of these bytes."""

    reason = "SignatureInvalid"


class ModelInvalid(Refused):
    """The model cannot run here, or is no ONNX at all."""

    reason = "ModelInvalid"


class GoldenInvalid(Refused):
    """The golden samples cannot be read."""

    reason = "GoldenInvalid"


class GoldenMismatch(Refused):
    """The model does not give the outputs that its golden samples promise."""

    reason = "GoldenMismatch"


class InterfaceChanged(Refused):
    """Inputs or outputs differ from the stable version's in a way that clients would notice."""

    reason = "InterfaceChanged"
