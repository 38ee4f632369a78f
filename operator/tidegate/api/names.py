"""What the API is called.  Apart from the types, because `tidegate status` has no time to load those."""

from __future__ import annotations

GROUP = "serving.tidegate.io"
VERSION = "v1alpha1"
KIND = "ModelDeployment"
PLURAL = "modeldeployments"
API_VERSION = f"{GROUP}/{VERSION}"
ANNOTATION_ASKED_BY = f"{GROUP}/asked-by"  # the value of a command and who gave it
