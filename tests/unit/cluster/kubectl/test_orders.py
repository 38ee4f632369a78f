"""What is asked for by the object as it is, where a real one would be hard to come by."""

from __future__ import annotations

import pytest

from tidegate.cluster.kubectl.acts import StatusUnknown, order_for
from tidegate.plan.verbs import Verb


def test_a_status_of_another_version_is_no_bug_of_ours() -> None:
    found = {"metadata": {}, "status": {"conditions": [{"type": "Ready", "status": "Perhaps", "reason": "x"}]}}

    with pytest.raises(StatusUnknown, match=r"status\.conditions\.0\.status is not understood"):
        order_for(found, Verb.PAUSE, None, "fraud")
