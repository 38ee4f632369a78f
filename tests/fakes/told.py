"""What a status tells, in the words of stories."""

from __future__ import annotations

from tidegate.api.status import ModelDeploymentStatus


class Told:
    """Whoever has a status: versions by the names that their bundles give themselves."""

    @property
    def status(self) -> ModelDeploymentStatus:
        raise NotImplementedError

    @property
    def phase(self) -> str:
        return self.status.phase

    @property
    def stable(self) -> str:
        return self.status.stable.version if self.status.stable else ""

    @property
    def candidate(self) -> str:
        return self.status.candidate.version if self.status.candidate else ""

    def truth(self, name: str) -> tuple[str, str]:
        """Status and reason of a condition; ("", "") when it is not there."""
        found = next((one for one in self.status.conditions if one.type == name), None)
        return (found.status, found.reason) if found else ("", "")
