"""Bundles in registries: an OCI image that is artifact and image volume at once.

config    an OCI image config, so that a node can unpack the layers
layers    one uncompressed tar per file, bundle.yaml too: one regular file, whose bytes can be read in parts
tags      the version, and `bundle-<hex of the bundle's digest>`: found by digest when the version has moved on
referrer  the signature, so that signing changes no digest
"""

from __future__ import annotations

from tidegate.bundle.stores.oci.listing import OciShelf
from tidegate.bundle.stores.oci.publishing import OciRepository
from tidegate.bundle.stores.oci.reading import OciStore

__all__ = ["OciRepository", "OciShelf", "OciStore"]
