"""From `spec.bundle` to the revision that the spec names, and from there to what the rollout should move to.

The manifest is read once for each change of `spec.bundle`; from then on its digest is pinned in the status, so that
content which changes under an address is refused (`SourceChanged`) and never rolled out by itself.
"""

from __future__ import annotations

from dataclasses import replace

from tidegate.api.status import ResolutionStatus
from tidegate.plan.commands import Command, parse_command
from tidegate.plan.observed import Failure, FailureClass, Resolution, Resolved, RevisionRecord
from tidegate.plan.phases import Phase, Surge
from tidegate.plan.rejected import blocked, reject
from tidegate.plan.revision import resolve_key, restarted_name, revision_name, source_key
from tidegate.plan.situation import Situation, Wish
from tidegate.plan.verbs import Verb
from tidegate.plan.wanted import ResolveWanted


def resolve(s: Situation) -> Situation:
    """The situation with `target`: the revision that the spec names, None until its bundle is known."""
    key, known = resolve_key(s.spec), s.status.resolution or ResolutionStatus()
    if known.key != key:
        source = source_key(s.spec.bundle)
        pinned = known.digest if known.source == source else ""
        known = ResolutionStatus(key=key, source=source, attempt=known.attempt + 1, digest=pinned)
        s = s.remember(resolution=known)
    record = s.record(known.revision)
    if record is not None and whole(record):
        return _named(s, known, record.resolution)
    answer = s.observed.resolved
    if answer is None or (answer.key, answer.attempt) != (known.key, known.attempt):
        return s
    if answer.resolution is None or _unreadable(s, answer.resolution):
        return _refused(s, known, answer)
    return _named(s, known, answer.resolution)


def resolve_wanted(s: Situation) -> ResolveWanted | None:
    """The question that is open, unless it is too early to ask again."""
    known, proves = s.status.resolution, asks_for_proof(s) and not unread(s)
    if known is None or blocked(s, known.key) or (s.target is not None and not proves):
        return None
    pinned = s.spec.bundle.digest or known.digest or None
    source = s.spec.bundle.model_copy(update={"digest": pinned})
    plain_bytes = s.target.resolution.plain_bytes if s.target else 0
    return ResolveWanted(known.key, known.attempt, source, proves or _proves_at_once(s), plain_bytes)


def _proves_at_once(s: Situation) -> bool:
    """Whether the first reading is a proof already; one that was not does not count when the spec asks for it later.

    What may be encrypted is read first: only then it is known how much memory the proof takes.
    """
    return s.spec.rollout.surge == "Replace" and s.spec.bundle.decryption is None


def _unreadable(s: Situation, found: Resolution) -> bool:
    """Whether the bundle is encrypted, and the spec does not say what opens it."""
    return found.plain_bytes > 0 and s.spec.bundle.decryption is None


def asks_for_proof(s: Situation) -> bool:
    """Whether the rollout waits for a proof of the whole bundle, before a server is stopped for it."""
    return s.rollout.surge == Surge.PROVE and s.rollout.phase == Phase.PROVING


def unread(s: Situation) -> bool:
    """Whether the spec names something else than the candidate, of which nothing is known yet: not even its size."""
    known = s.status.resolution
    return known is None or known.revision != s.candidate


def proof(s: Situation) -> Resolved | None:
    """The answer to that, once it is there."""
    known, answer = s.status.resolution or ResolutionStatus(), s.observed.resolved
    asked = asks_for_proof(s) and answer is not None and (answer.key, answer.attempt) == (known.key, known.attempt)
    return answer if asked else None


def resolving(s: Situation) -> bool:
    """Whether the spec's revision is not known yet but may still become so."""
    return s.target is None and not blocked(s, resolve_key(s.spec))


def choose(s: Situation) -> Situation:
    """The situation with `wish`: what to move to, None to stay.

    A person's rollback goes before the spec, and the spec before a restart: what is restarted is the stable version,
    also while the spec names another one that is rejected.
    """
    open_ = (wish for ask in (rollback, _by_spec, restart) if (wish := ask(s)) and not blocked(s, wish.record.revision))
    wish = next(open_, None)
    if wish is None or s.record(wish.record.revision):
        return replace(s, wish=wish)
    return replace(s, wish=wish, extra_records={**s.extra_records, wish.record.revision: wish.record})


def rollback(s: Situation) -> Wish | None:
    """The version that a person wants back, whether or not it may be tried now."""
    back = s.record(s.status.rollback)
    return Wish(back, "Rollback") if back else None


def restart(s: Situation) -> Wish | None:
    """The stable version in new servers, where a person wants that; whether or not it may be tried now."""
    again = s.record(s.status.restart) or _asked_again(s)
    if again is None or again.base != s.base(s.stable) or again.revision == s.stable:
        return None
    # It takes up the Secrets that the spec names now, if that is the same bundle: which is not known yet.
    early = resolving(s) and again.revision != s.candidate
    return None if early else Wish(again, "Restart")


def restarted(s: Situation, command: Command) -> RevisionRecord:
    """What a restart of the stable version makes: the record that is there, or one like that of the stable version."""
    old = s.record_of(s.serving)
    name = restarted_name(old.base, command.at)
    fresh = replace(old, revision=name, number=number_of(s, name), restart=command.at.isoformat())
    return s.record(name) or fresh


def _asked_again(s: Situation) -> RevisionRecord | None:
    """A restart whose record could not be kept when it was asked for: its command still says what it was."""
    command = parse_command(Verb.RESTART, s.status.commands.get(Verb.RESTART, ""))
    if command is None or not s.status.restart or s.first:
        return None
    again = restarted(s, command)
    return again if again.revision == s.status.restart else None


def _by_spec(s: Situation) -> Wish | None:
    return Wish(s.target, "Spec") if s.target is not None and s.target.base != s.base(s.stable) else None


def _named(s: Situation, known: ResolutionStatus, bundle: Resolution) -> Situation:
    name = revision_name(bundle, s.spec.runtime)
    record = s.record(name)
    if record is None or not whole(record):
        number = record.number if record else number_of(s, name)
        record = RevisionRecord(name, number, bundle, s.spec.runtime, base=name, proved=_proves_at_once(s))
    resolved = known.model_copy(update={"digest": bundle.digest, "revision": name})
    s = s if resolved == s.status.resolution else s.remember(resolution=resolved)
    return replace(s, target=record, extra_records={**s.extra_records, name: record})


def whole(record: RevisionRecord) -> bool:
    """Whether it is more than what could be pieced together from the status."""
    return bool(record.resolution.interface.outputs)


def _refused(s: Situation, known: ResolutionStatus, answer: Resolved) -> Situation:
    failure = answer.failure or _closed(answer)
    if failure.reason == "DigestMismatch" and known.digest and s.spec.bundle.digest is None:
        failure = replace(failure, class_=FailureClass.CONTENT, reason="SourceChanged")
    s = s.remember(resolution=known.model_copy(update={"attempt": known.attempt + 1}))
    return reject(s, known.key, failure).tell(failure.reason, failure.message, warning=True)


def _closed(answer: Resolved) -> Failure:
    if answer.resolution is None:
        return Failure(FailureClass.ENVIRONMENT, "NoAnswer", "the bundle could not be read")
    what = f"{answer.resolution.uri}: the bundle is encrypted: name its age key in bundle.decryption"
    return Failure(FailureClass.CONTENT, "BundleEncrypted", what)


def number_of(s: Situation, revision: str) -> int:
    """The number that a revision has had, or else one more than any has had, also of those that are forgotten."""
    known = numbers(s)
    return known.get(revision) or 1 + max((s.status.last_number, *known.values()))


def numbers(s: Situation) -> dict[str, int]:
    """Those that are in use: of records that are kept, of versions in the status and its history."""
    versions = (s.status.stable, s.status.candidate, s.rollout.previous)
    known = {entry.revision: entry.number for entry in s.status.history}
    known |= {version.revision: version.number for version in versions if version}
    known |= {record.revision: record.number for record in s.observed.records.values()}
    return known
