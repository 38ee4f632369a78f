"""Devices that became unhealthy under servers that go on with them, as kubelets tell it."""

from __future__ import annotations

from tests.unit.cluster.pods import Object, pod

from tidegate.cluster.devices import unhealthy
from tidegate.plan.observed import FailureClass
from tidegate.plan.texts import LONGEST_MESSAGE

GPU = "nvidia.com/gpu"


def on(name: str, **health: str) -> Object:
    """A pod whose server holds devices."""
    devices = [{"resourceID": device, "health": word} for device, word in health.items()]
    found = pod(containers=[{"name": "serve", "allocatedResourcesStatus": [{"name": GPU, "resources": devices}]}])
    return {**found, "metadata": {**found["metadata"], "name": name}}


def test_an_unhealthy_device_is_told_with_its_pod_and_what_to_do() -> None:
    found = unhealthy([on("fraud-a", g0="Healthy"), on("fraud-b", g1="Unhealthy"), on("fraud-c", g2="Unknown"), pod()])

    assert found
    assert (found.class_, found.reason) == (FailureClass.ENVIRONMENT, "DeviceUnhealthy")
    assert found.message == (
        "a device is unhealthy, of fraud-b (nvidia.com/gpu g1): delete the pod for one on another device"
    )


def test_several_are_counted_and_what_to_do_stays_in_the_message() -> None:
    found = unhealthy([on(f"fraud-{number:04}", g="Unhealthy") for number in reversed(range(2000))])

    assert found
    assert found.message.startswith("2000 devices are unhealthy, of fraud-0000 (nvidia.com/gpu g), fraud-0001")
    assert found.message.endswith(": delete the pod for one on another device")
    assert len(found.message) <= LONGEST_MESSAGE


def test_sound_devices_and_kubelets_that_say_nothing_are_no_news() -> None:
    assert unhealthy([on("fraud-a", g0="Healthy"), pod(), {"metadata": {"name": "fraud-new"}}]) is None
