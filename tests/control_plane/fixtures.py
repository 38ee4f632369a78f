"""Fixtures of tests that need a real API server; a conftest imports those that its folder uses.

Each control plane is started once in a session, and only when a test asks for it.  Programs are built before the first
test, because the limit on a test's time would end a build.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable

import pytest
from tests.control_plane import programs
from tests.control_plane.plane import Plane, only_api, whole

Start = Callable[[], contextlib.AbstractContextManager[Plane]]
PLANES = pytest.StashKey[dict[Start, Plane]]()
NEEDS = {
    "api_server": programs.API_ONLY,
    "control_plane": programs.ALL,
    "helm": (programs.HELM,),
    "bare": programs.API_ONLY,
    "gateway_is_at_hand": programs.GATEWAY,
    "installed": programs.ALL,
    "real_kubectl": (programs.KUBECTL,),
}


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build what the chosen tests need, with words on the terminal: the first build takes minutes."""
    used = {name for item in session.items for name in getattr(item, "fixturenames", ()) if name in NEEDS}
    if not used or session.config.option.collectonly or sys.platform != "linux":
        return
    wanted = dict.fromkeys(program for name in used for program in NEEDS[name])
    capture = session.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
        try:
            programs.build_missing(wanted)
        except (LookupError, RuntimeError) as error:
            programs.say(f"error: {error}")  # the tests that need it fail with the same words, all others run


def needs_linux() -> None:
    if sys.platform != "linux":
        pytest.skip("a control plane needs a loopback network of its own, which only Linux has without set-up")


def shared(config: pytest.Config, start: Start) -> Plane:
    """The one plane of this size in a session, also when several folders import the fixture."""
    needs_linux()
    planes = config.stash.setdefault(PLANES, {})
    if start not in planes:
        stack = contextlib.ExitStack()
        planes[start] = stack.enter_context(start())
        config.add_cleanup(stack.close)
    return planes[start]


@pytest.fixture(scope="session")
def api_server(pytestconfig: pytest.Config) -> Plane:
    """etcd and kube-apiserver with our CRD; nothing else happens there."""
    return shared(pytestconfig, only_api)


@pytest.fixture(scope="session")
def control_plane(pytestconfig: pytest.Config) -> Plane:
    """A whole cluster with simulated nodes and pods."""
    return shared(pytestconfig, whole)
