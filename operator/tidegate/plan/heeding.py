"""What people ask for, done once: each verb is one small act on the situation.

An act that does not fit the moment (another revision, no rollout) changes nothing and says so in an event.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from tidegate.plan import moves
from tidegate.plan.commands import Command, latest, new_commands
from tidegate.plan.history import served
from tidegate.plan.observed import Failure, FailureClass
from tidegate.plan.phases import ACTIVE, Phase
from tidegate.plan.rejected import forgive, reject
from tidegate.plan.resolving import restarted, whole
from tidegate.plan.revision import resolve_key
from tidegate.plan.situation import Situation
from tidegate.plan.verbs import Verb

Act = Callable[[Situation, Command], Situation]


def heed(s: Situation) -> Situation:
    """Note every new command; the latest of them acts."""
    new = new_commands(s.observed.commands, s.status.commands)
    if not new:
        return s
    s = s.remember(commands={**s.status.commands, **new})
    command = latest(new)
    if command is None:
        verbs = ", ".join(sorted(new))
        return s.tell("CommandIgnored", f"{verbs}: not of the form <revision>[/<step>]@<time>", warning=True)
    return _signed(s, ACTS[command.verb](s, command), f"{command.verb.value} {new[command.verb]}")


def _signed(before: Situation, acted: Situation, command: str) -> Situation:
    """What an act tells is told of its command."""
    told = acted.events[len(before.events) :]
    return replace(acted, events=(*before.events, *(replace(event, command=command) for event in told)))


def promote(s: Situation, command: Command) -> Situation:
    if not _speaks_of_candidate(s, command) or command.step not in (None, s.step_number):
        return _ignored(s, command, "no such step is being held")
    return s.in_rollout(promoted_step=s.step_number).tell("StepPromoted", f"step {s.step_number} ends", s.candidate)


def promote_full(s: Situation, command: Command) -> Situation:
    if not _speaks_of_candidate(s, command):
        return _ignored(s, command, "no such candidate")
    return s.in_rollout(full=True).tell("PromotedInFull", "100 % without further steps", s.candidate)


def abort(s: Situation, command: Command) -> Situation:
    failure = Failure(FailureClass.COMMAND, "Aborted", "aborted by command")
    if _speaks_of_candidate(s, command):
        return moves.send_back(s, failure)
    watched = s.rollout.phase == Phase.WATCHING and command.revision == s.stable
    if watched and s.servers(s.previous).ready:
        return moves.return_to_previous(s, failure)
    return _ignored(s, command, "no such rollout runs, or nothing is ready to return to")


def retry(s: Situation, command: Command) -> Situation:
    """Whatever stands against the current spec is forgotten."""
    subjects = [resolve_key(s.spec), command.revision]
    if s.target is not None:
        subjects.append(s.target.revision)
    for subject in subjects:
        s = forgive(s, subject)
    return s.tell("Retried", "what was refused may be tried again")


def pause(s: Situation, _: Command) -> Situation:
    return s if s.status.paused else s.remember(paused=True).tell("Paused", "by command")


def resume(s: Situation, _: Command) -> Situation:
    return s.remember(paused=False).tell("Resumed", "by command") if s.status.paused else s


def roll_back_to(s: Situation, command: Command) -> Situation:
    """The named version again; what the spec names now is rejected, so that Git does not roll forward again."""
    wanted = s.record(command.revision)
    if command.revision == s.stable and not s.status.candidate:
        return _ignored(s, command, "it is the stable version already")
    if wanted is None or command.revision not in served(s) | {s.stable, s.previous}:
        return _ignored(s, command, "no such version has served")
    s = forgive(s, command.revision)
    if s.target is not None and s.target.base != wanted.base:
        failure = Failure(FailureClass.COMMAND, "RolledBack", f"rolled back to {command.revision} by command")
        s = reject(s, s.target.revision, failure)
    if command.revision == s.stable:
        return s.remember(rollback="", restart="")  # the candidate is superseded: nobody asks for it any more
    s = s.remember(rollback=command.revision)
    return s.tell("RollbackAsked", f"back to version {wanted.resolution.version}", command.revision)


def restart(s: Situation, command: Command) -> Situation:
    """A canary of the same bundle under a new name: fresh processes, fresh secrets."""
    if s.status.stable is None or command.revision not in (s.stable, s.base(s.stable)):
        return _ignored(s, command, "it is not the stable version")
    if s.status.candidate is not None:
        return _ignored(s, command, "a rollout runs")
    fresh = restarted(s, command)
    if not whole(fresh):
        return _ignored(s, command, "what it is made of is not known any more: roll out a version from the spec")
    s = s.remember(restart=fresh.revision)
    return s.tell("RestartAsked", "the same version again in new servers", fresh.revision)


ACTS: Mapping[Verb, Act] = {
    Verb.PROMOTE: promote,
    Verb.PROMOTE_FULL: promote_full,
    Verb.ABORT: abort,
    Verb.RETRY: retry,
    Verb.PAUSE: pause,
    Verb.RESUME: resume,
    Verb.ROLLBACK_TO: roll_back_to,
    Verb.RESTART: restart,
}


def _speaks_of_candidate(s: Situation, command: Command) -> bool:
    return s.rollout.phase in ACTIVE and command.revision == s.candidate


def _ignored(s: Situation, command: Command, why: str) -> Situation:
    return s.tell("CommandIgnored", f"{command.verb.value}: {why}", command.revision, warning=True)
