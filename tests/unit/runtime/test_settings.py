"""Flags and environment: one meaning each, refused with the flag's name when they have none."""

from __future__ import annotations

import pytest

from tidegate_runtime.settings import FLAGS, Settings, duration, parse, share, size

BUNDLE = ["--bundle", "b"]


def test_the_environment_says_what_no_flag_does() -> None:
    found = parse([*BUNDLE, "--queue", "9"], {"TIDEGATE_QUEUE": "3", "TIDEGATE_MAX_BODY": "1MiB"})
    assert (found.queue, found.max_body) == (9, 1 << 20)


@pytest.mark.parametrize(("text", "seconds"), [("10s", 10), ("1m30s", 90), ("250ms", 0.25), ("1.5s", 1.5), ("0s", 0)])
def test_durations_are_read_as_kubernetes_writes_them(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "s", "-1s", "10s ", "1d", "10000h", "1e3s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|seven days"):
        duration(text)


@pytest.mark.parametrize("text", ["", "64MB", "-1", "1.5GiB", "x"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        size(text)


@pytest.mark.parametrize("text", ["", "1.1", "2", "-1", "1e-3", "nan", "50%"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a number from 0 to 1"):
        share(text)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--tls-cert", "c"], "give both or neither"),
        (["--tls-key", "k"], "give both or neither"),
        (["--tls-client-ca", "a"], "--tls-client-ca: it needs --tls-cert"),
    ],
)
def test_half_of_what_tls_needs_is_refused(flags: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse([*BUNDLE, *flags], {})


def test_a_wrong_value_names_its_flag() -> None:
    with pytest.raises(ValueError, match="--queue-timeout: 'x' is not a duration"):
        parse([*BUNDLE, "--queue-timeout", "x"], {})


def test_provider_options_are_names_and_values() -> None:
    found = parse(
        [*BUNDLE, "--device", "tensorrt", "--provider-options", "use_tf32=0  trt_profile_min_shapes=x:1x3,y:1"], {}
    )

    assert found.provider_options == {"use_tf32": "0", "trt_profile_min_shapes": "x:1x3,y:1"}
    assert parse(BUNDLE, {}).provider_options == {}


@pytest.mark.parametrize("text", ["use_tf32", "=1", "A=1", "use_tf32=1 use_tf32=0", "use tf32=1"])
def test_what_is_no_provider_option_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"--provider-options: .* is not one option such as use_tf32=0"):
        parse([*BUNDLE, "--device", "cuda", "--provider-options", text], {})


def test_a_processor_has_no_provider_options() -> None:
    with pytest.raises(ValueError, match="--provider-options: they are a GPU's"):
        parse([*BUNDLE, "--provider-options", "use_tf32=1"], {})


def test_every_setting_is_a_flag_and_the_other_way_round() -> None:
    assert [flag.field for flag in FLAGS] == list(Settings.__dataclass_fields__)


def test_threads_share_the_cores_between_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate_runtime.settings.usable_cores", lambda: 7.6)
    assert parse(BUNDLE, {}).threads == 8
    assert parse([*BUNDLE, "--intra-op", "4"], {}).threads == 2
    assert parse([*BUNDLE, "--intra-op", "16"], {}).threads == 1
    assert parse([*BUNDLE, "--workers", "3"], {}).threads == 3


def test_one_process_answers_unless_more_are_asked_for() -> None:
    assert [parse([*BUNDLE, *more], {}).workers for more in ([], ["--workers", "3"], ["--workers", "auto"])] == [
        1,
        3,
        None,
    ]


@pytest.mark.parametrize("text", ["0", "65", "many", "", "٣"])
def test_what_is_no_number_of_processes_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"--workers: .* is not a whole number from 1 to 64, or auto"):
        parse([*BUNDLE, "--workers", text], {})


def test_a_port_that_can_be_left_out_says_so_where_it_is_none() -> None:
    with pytest.raises(ValueError, match="--grpc-port: 'no' is not a whole number from 0 to 65535, or off"):
        parse([*BUNDLE, "--grpc-port", "no"], {})


def test_each_process_needs_a_place_in_the_queue() -> None:
    with pytest.raises(ValueError, match="--workers: each needs a place in the queue"):
        parse([*BUNDLE, "--workers", "4", "--queue", "3"], {})
