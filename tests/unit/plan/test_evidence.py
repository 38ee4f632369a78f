"""What readings of the servers add up to: restarts, missing answers, warm-up, shares, and how much is remembered."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tidegate.api.evidence import MAX_SEGMENTS, Evidence
from tidegate.plan import evidence as counting
from tidegate.plan.evidence import fits, share_observed
from tidegate.plan.samples import EDGES

from .largest import largest_evidence
from .servers import START, Server, Watch, analysis, watch


@pytest.fixture
def stable() -> Server:
    return Server("stable-1", "stable")


@pytest.fixture
def candidate() -> Server:
    return Server("candidate-1", "candidate")


@pytest.fixture
def rollout(stable: Server, candidate: Server) -> Watch:
    return watch(analysis(), stable, candidate)


def test_a_reading_adds_what_happened_since_the_last_one(rollout: Watch, stable: Server, candidate: Server) -> None:
    rollout.reads(stable.answers(90, 1, 10), candidate.answers(10, 0, 10))
    evidence = rollout.reads(stable.answers(90, 2, 10), candidate.answers(10, 1, 10))
    assert (evidence.stable.requests, evidence.stable.bad) == (1800, (30,))
    assert (evidence.candidate.requests, evidence.candidate.bad, evidence.candidate.bins) == (200, (10,), 20)
    assert evidence.candidate.squares == pytest.approx((1.0,))
    assert evidence.intervals == 2


def test_what_was_counted_before_the_rollout_is_the_stable_versions_record(stable: Server) -> None:
    stable.answers(100, 1, 50)
    evidence = watch(analysis(), stable).evidence
    assert (evidence.before.requests, evidence.before.bad, evidence.stable.requests) == (5000, (50,), 0)


def test_a_restarted_server_counts_from_nothing(rollout: Watch, stable: Server, candidate: Server) -> None:
    rollout.reads(stable, candidate.answers(10, 0, 10))
    restarted = Server("candidate-2", "candidate", started=12).answers(5, 1, 4)
    assert rollout.reads(stable, restarted).candidate.requests == 120


def test_counters_that_fall_count_from_nothing_too(rollout: Watch, stable: Server, candidate: Server) -> None:
    rollout.reads(stable, candidate.answers(10, 0, 10))
    again = Server("candidate-1", "candidate").answers(3, 0, 2)
    assert rollout.reads(stable, again).candidate.requests == 106


def test_a_server_that_contradicts_itself_never_takes_counts_away(
    rollout: Watch, stable: Server, candidate: Server
) -> None:
    rollout.reads(stable, candidate.answers(10, 0, 10))
    candidate.answers(10).lanes["requests"]["bins"] = 1
    assert rollout.reads(stable, candidate).candidate.bins == 10


def test_the_warm_up_of_a_server_is_left_out(stable: Server) -> None:
    rollout = watch(analysis(warmup="10s"), stable)
    new = Server("candidate-1", "candidate", started=5)
    rollout.reads(stable, new.answers(10, 10, 5))
    rollout.reads(stable, new.answers(10, 10, 10))
    assert rollout.evidence.candidate.requests == 0
    assert rollout.reads(stable, new.answers(10, 0, 10)).candidate.requests == 100


def test_a_server_first_seen_long_after_its_start_counts_from_then_on(rollout: Watch, stable: Server) -> None:
    old = Server("candidate-9", "candidate", started=-500).answers(10, 10, 100)
    rollout.reads(stable, old)
    assert rollout.evidence.candidate.requests == 0
    assert rollout.reads(stable, old.answers(10, 0, 10)).candidate.requests == 100


def test_a_missing_answer_is_missing_evidence_and_comes_later(
    rollout: Watch, stable: Server, candidate: Server
) -> None:
    rollout.reads(stable.answers(90, 0, 10), candidate.answers(10, 0, 10))
    missing = rollout.reads(stable.answers(90, 0, 10))
    assert missing.candidate.requests == 100
    candidate.answers(10, 0, 20)
    assert rollout.reads(stable.answers(90, 0, 10), candidate).candidate.requests == 300


def test_a_server_that_is_gone_is_forgotten_after_a_while(rollout: Watch, stable: Server, candidate: Server) -> None:
    rollout.reads(stable, candidate)
    assert [b.instance for b in rollout.reads(stable, after=700).baselines] == ["stable-1"]


def test_servers_of_other_revisions_are_nobodys(rollout: Watch, stable: Server) -> None:
    other = Server("x", "older")
    rollout.reads(stable, other)
    evidence = rollout.reads(stable, other.answers(10, 10, 10))
    assert evidence.stable.requests == evidence.candidate.requests == 0


def test_pinned_and_synthetic_requests_enter_no_test(rollout: Watch, stable: Server, candidate: Server) -> None:
    candidate.answers(10, 10, 5, lane="pinned").answers(4, 1, 5, lane="synthetic")
    evidence = rollout.reads(stable.answers(1, 0, 2, lane="synthetic"), candidate)
    assert evidence.candidate.requests == 0
    assert (evidence.synthetic.candidate_requests, evidence.synthetic.candidate_bad) == (20, 5)
    assert (evidence.synthetic.stable_requests, evidence.synthetic.stable_bad) == (2, 0)


def test_reading_more_often_than_the_interval_closes_no_interval_early(
    rollout: Watch, stable: Server, candidate: Server
) -> None:
    for _ in range(9):
        rollout.reads(stable, candidate.answers(10), after=1)
    assert rollout.evidence.intervals == 1  # nine seconds and a bit are ten to a runner with its own clock
    assert rollout.evidence.candidate.requests == 90
    rollout.reads(stable, candidate.answers(10), after=1)
    assert rollout.evidence.open.candidate.requests == 10
    assert rollout.evidence.candidate.requests == 90


def test_only_the_last_six_intervals_are_kept_by_themselves(rollout: Watch, stable: Server, candidate: Server) -> None:
    for n in range(1, 9):
        rollout.reads(stable, candidate.answers(n))
    assert [interval.candidate.requests for interval in rollout.evidence.recent] == [3, 4, 5, 6, 7, 8]


def test_blocks_of_ten_seconds_gather_shorter_intervals(stable: Server, candidate: Server) -> None:
    rollout = watch(analysis(interval="1s"), stable, candidate)
    for _ in range(20):
        rollout.reads(stable, candidate.answers(10, 1), after=1)
    assert (rollout.evidence.intervals, rollout.evidence.candidate.blocks) == (20, 2)
    assert rollout.evidence.candidate.block_squares == pytest.approx((2.0,))
    assert sum(interval.candidate.blocks for interval in rollout.evidence.recent) == 1


def test_a_segment_ends_when_the_share_changes(rollout: Watch, stable: Server, candidate: Server) -> None:
    rollout.reads(stable.answers(90), candidate.answers(10))
    rollout.reads(stable.answers(90), candidate.answers(10))
    assert share_observed(rollout.evidence) == (180, 20)
    rollout.reads(stable, candidate, share="50:1/1", after=1)
    assert share_observed(rollout.evidence) == (0, 0)
    evidence = rollout.reads(stable.answers(50), candidate.answers(50, 3), share="50:1/1")
    assert share_observed(evidence) == (50, 50)
    assert [s.share for s in evidence.segments] == ["10:1/1", "50:1/1"]
    assert evidence.segments[-1].candidate_bad == (3,)


def test_before_the_first_reading_no_share_was_seen(rollout: Watch) -> None:
    assert share_observed(rollout.evidence) == (0, 0)


def test_of_many_segments_those_with_like_shares_become_one(rollout: Watch, stable: Server, candidate: Server) -> None:
    for step in range(2 * MAX_SEGMENTS):
        rollout.reads(stable.answers(100), candidate.answers(1 + step % 8, 1), share=f"{step}")
    evidence = rollout.evidence
    assert len(evidence.segments) == MAX_SEGMENTS
    assert evidence.segments[-1].share == str(2 * MAX_SEGMENTS - 1)
    assert sum(s.stable_requests for s in evidence.segments) == 200 * MAX_SEGMENTS
    assert sum(s.candidate_bad[0] for s in evidence.segments) == 2 * MAX_SEGMENTS
    shares = [s.candidate_requests / s.stable_requests for s in evidence.segments]
    assert all(min(abs(share - i / 100) for i in range(1, 9)) < 0.004 for share in shares)


def test_requests_of_a_step_are_counted_from_its_beginning(rollout: Watch, stable: Server, candidate: Server) -> None:
    rollout.reads(stable.answers(90), candidate.answers(10))
    assert rollout.evidence.step.candidate == 10
    evidence = rollout.reads(stable.answers(50), candidate.answers(49), step=2)
    assert (evidence.step.step, evidence.step.stable, evidence.step.candidate) == (2, 50, 49)


def test_slow_answers_are_those_beyond_the_edge_at_or_above_the_limit(stable: Server, candidate: Server) -> None:
    rollout = watch(analysis(maxLatency={"p99": "80ms"}), stable, candidate)
    evidence = rollout.reads(stable, candidate.answers(100, 0, 10, slow=3))
    assert evidence.signals == ("errors", "latency/p99")
    assert evidence.limits[0].seconds == min(edge for edge in EDGES if edge >= 0.08)
    assert evidence.candidate.bad == (0, 30)
    assert evidence.ceilings == (0.01, 0.01)


def test_a_limit_beyond_the_last_edge_is_the_last_edge() -> None:
    assert watch(analysis(maxLatency={"p50": "5m"})).evidence.limits[0].seconds == EDGES[-1]


def test_the_limit_of_an_increase_is_fixed_from_the_stable_versions_own_figure(stable: Server) -> None:
    rollout = watch(analysis(maxLatencyIncrease={"p99": "20%"}), stable.answers(100, 0, 20, slow=2))
    limit = rollout.evidence.limits[0]
    assert limit.stable_seconds == pytest.approx(1.0, rel=0.05)
    assert limit.seconds == min(edge for edge in EDGES if edge >= 1.2 * limit.stable_seconds * (1 - 1e-9))
    after = rollout.reads(stable.answers(100, 0, 1000))
    assert after.limits[0] == limit


def test_a_stable_version_with_few_requests_has_no_quantile_to_compare_with(stable: Server, candidate: Server) -> None:
    rollout = watch(analysis(maxLatencyIncrease={"p99": "20%"}), stable.answers(10, 0, 10, slow=10), candidate)
    assert rollout.evidence.limits[0].seconds == 0
    assert rollout.reads(stable, candidate.answers(10, 0, 10, slow=10)).candidate.bad == (0, 0)


def test_comparisons_are_counted_apart_from_requests(stable: Server, candidate: Server) -> None:
    asked = analysis(maxDivergence={"top1Disagreement": 0.02, "outputs": [{"name": "scores"}, {"name": "other"}]})
    rollout = watch(asked, stable, candidate)
    evidence = rollout.reads(stable, candidate.compares(10, 1, 2, seconds=10))
    assert evidence.signals == ("errors", "top1", "output/scores", "output/other")
    assert evidence.candidate.bad == (0, 10, 20, 0)
    assert (evidence.candidate.compared, evidence.candidate.compared_blocks, evidence.candidate.requests) == (100, 1, 0)
    assert evidence.candidate.block_squares[1] == pytest.approx(1.0)


def test_intervals_beyond_the_limits_are_counted_for_the_plain_comparison(
    rollout: Watch, stable: Server, candidate: Server
) -> None:
    rollout.reads(stable.answers(900, 0), candidate.answers(100, 1))
    assert (rollout.evidence.exceeded, rollout.evidence.increased) == ((0,), (1,))
    rollout.reads(stable.answers(900, 20), candidate.answers(100, 2))
    assert (rollout.evidence.exceeded, rollout.evidence.increased) == ((1,), (1,))
    rollout.reads(candidate.answers(100, 50))
    assert (rollout.evidence.exceeded, rollout.evidence.increased) == ((2,), (1,))


def test_a_slower_share_within_the_quantile_is_no_increase(stable: Server, candidate: Server) -> None:
    rollout = watch(analysis(maxLatencyIncrease={"p90": "20%"}), stable.answers(100, 0, 10), candidate)
    rollout.reads(stable.answers(1000, 0, 1), candidate.answers(1000, 0, 1, slow=90))
    assert rollout.evidence.increased == (0, 0)
    rollout.reads(stable.answers(1000, 0, 1), candidate.answers(1000, 0, 1, slow=110))
    assert rollout.evidence.increased == (0, 1)


def test_of_very_many_servers_a_sample_that_stays_the_same_is_counted() -> None:
    stable = [Server(f"s{i:03}", "stable") for i in range(100)]
    candidate = [Server(f"c{i:03}", "candidate") for i in range(10)]
    rollout = watch(analysis(), *stable[:80], *candidate)
    first = {b.instance for b in rollout.evidence.baselines}
    assert len(first) == 64
    assert first >= {server.instance for server in candidate}
    evidence = rollout.reads(*reversed(stable), *(server.answers(10) for server in candidate))
    assert {b.instance for b in evidence.baselines} == first
    assert evidence.candidate.requests == 100


def test_with_many_signals_fewer_servers_are_counted() -> None:
    servers = [Server(f"{i:03}", "stable" if i % 2 else "candidate") for i in range(64)]
    quantiles = {"p50": "1s", "p90": "1s", "p95": "1s", "p99": "1s", "p99.9": "1s"}
    rollout = watch(analysis(maxLatency=quantiles, maxLatencyIncrease=dict.fromkeys(quantiles, "20%")), *servers)
    assert len(rollout.evidence.baselines) == 400 // 11


def test_evidence_survives_being_written_and_read(rollout: Watch, stable: Server, candidate: Server) -> None:
    evidence = rollout.reads(stable.answers(90, 1, 10), candidate.answers(10, 1, 10))
    assert Evidence.model_validate_json(evidence.model_dump_json(by_alias=True)) == evidence


def test_the_largest_evidence_stays_under_32_kib() -> None:
    for evidence in (largest_evidence(signals=20), largest_evidence(signals=6)):
        assert len(evidence.model_dump_json(by_alias=True).encode()) < 32 * 1024


def test_evidence_fits_until_the_limits_are_edited(stable: Server) -> None:
    fields = {"maxLatency": {"p99": "80ms"}, "maxLatencyIncrease": {"p99": "20%"}}
    evidence = watch(analysis(**fields), stable.answers(100, 0, 20)).evidence
    assert fits(evidence, analysis(**fields, deadline="1h"))
    for edited in (
        {"maxErrorRate": 0.02},
        {"maxErrorRateIncrease": 3},
        {"maxLatency": {"p99": "90ms"}},
        {"maxLatency": {"p95": "80ms"}},
        {"maxLatencyIncrease": {"p99": "30%"}},
        {"maxLatencyIncrease": None},
    ):
        assert not fits(evidence, analysis(**{**fields, **edited}))
    assert fits(watch(analysis()).evidence, analysis())


def test_after_the_promotion_counting_goes_on_against_the_old_versions_record(
    rollout: Watch, stable: Server, candidate: Server
) -> None:
    rollout.reads(stable.answers(90, 1, 10), candidate.answers(10, 0, 10))
    rollout.reads(stable.answers(90, 1, 1), candidate.answers(10, 0, 1), after=1)
    rollout.evidence = counting.watch(rollout.evidence, START + timedelta(seconds=rollout.at))
    assert (rollout.evidence.before.requests, rollout.evidence.candidate.requests) == (990, 0)
    evidence = rollout.reads(stable, candidate.answers(100, 0, 10), share="100:1/1")
    assert (evidence.candidate.requests, evidence.intervals) == (1000, 1)
