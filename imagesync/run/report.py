"""What a pass saw and did, as values for JSON, and the exit code that follows. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from imagesync.errors import ConfigError, LockedError
from imagesync.model import Signer, TrustedList, Unknown, Verdict
from imagesync.plan.render import action_as_json
from imagesync.plan.spec import timestamp
from imagesync.plan.values import Cause
from imagesync.run.apply import Ending, Outcome
from imagesync.run.evidence import ends
from imagesync.run.exits import Exit, worst_code
from imagesync.run.notice import Notice
from imagesync.run.observe import Clock, Seen
from imagesync.run.pausing import as_json as pause_as_json
from imagesync.run.pausing import told
from imagesync.run.record import is_tampered_and_held
from imagesync.run.sync import PassResult, TargetResult


def worst_of(results: Iterable[TargetResult]) -> Exit:
    """Return the exit code that the targets alone lead to."""
    applying = {Exit.DONE, *_of_targets(results)}
    return worst_code(applying)


def targets_as_json(results: Iterable[TargetResult]) -> list[dict[str, Any]]:
    """Return what became of each target."""
    return [_target_as_json(result) for result in results]


def exit_code(result: PassResult) -> Exit:
    """Return the exit code of a pass: the most severe that applies."""
    applying = {Exit.DONE, *_of_lists(result.seen), *_of_targets(result.targets)}
    if result.clock is Clock.CLOCK:
        applying.add(Exit.SOME_FAILED)
    return worst_code(applying)


def has_failed_beside_images(result: PassResult) -> bool:
    """Return whether the clock, a list or a target failed, which the exit code does not tell from images or a guard.

    A target that another process works on has not failed.
    """
    errors = [target.error for target in result.targets]
    failed = any(error is not None and not isinstance(error, LockedError) for error in errors)
    return failed or bool(_of_lists(result.seen)) or result.clock is Clock.CLOCK


def _of_lists(seen: Iterable[Seen]) -> set[Exit]:
    verdicts = [_verdict(item) for item in seen if item.observation is not None]
    codes = set()
    if Verdict.REFUSED in verdicts:
        codes.add(Exit.REFUSED)
    if Verdict.UNAVAILABLE in verdicts:
        only = all(verdict is Verdict.UNAVAILABLE for verdict in verdicts)
        codes.add(Exit.NOTHING_DONE if only else Exit.SOME_FAILED)
    return codes


def _of_targets(results: Iterable[TargetResult]) -> set[Exit]:
    results = tuple(results)
    codes = {code for result in results for code in _of_target(result)}
    # One that is paused may be away.
    wanted = [result for result in results if result.pause is None or result.error is not None]
    if wanted and all(result.plan is None for result in wanted):
        codes.add(Exit.NOTHING_DONE)
    return codes


def _of_target(result: TargetResult) -> set[Exit]:
    codes = set()
    if isinstance(result.error, LockedError):
        codes.add(Exit.LOCKED)
    elif isinstance(result.error, ConfigError):
        codes.add(Exit.USAGE)
    elif result.error is not None:
        codes.add(Exit.SOME_FAILED)
    actions = [outcome.action for outcome in result.outcomes] or list(result.plan.actions if result.plan else ())
    causes = {action.cause for action in actions}
    if Cause.GUARD in causes:
        codes.add(Exit.GUARD)
    failing = any(outcome.outcome is Ending.FAILED for outcome in result.outcomes)
    if failing or causes & {Cause.BROKEN, Cause.BACK_OFF} or any(map(is_tampered_and_held, actions)):
        codes.add(Exit.SOME_FAILED)
    return codes


def as_json(result: PassResult, run: str) -> dict[str, Any]:
    """Return the report of a pass as values that ``json`` can write."""
    outcomes = [outcome for target in result.targets for outcome in target.outcomes]
    return {
        "exit": int(exit_code(result)),
        "run": run,
        "at": timestamp(result.task.now),
        "clock": str(result.clock),
        "state": "lost" if result.state_lost else "kept",
        "lists": [list_as_json(item) for item in result.seen],
        "targets": targets_as_json(result.targets),
        "totals": _totals(outcomes),
    }


def list_as_json(item: Seen) -> dict[str, Any]:
    """Return what is known of one list."""
    pause = item.subscription.pause
    base: dict[str, Any] = {
        "name": item.subscription.name,
        "verdict": "unavailable",
        "reason": told(pause) if pause else "switched off in the configuration",
        "followed": item.subscription.is_followed,
        "paused": pause_as_json(pause),
    }
    base |= {"notices": [notice_as_json(notice) for notice in item.notices]}
    match item.observation:
        case TrustedList() as trusted:
            content = trusted.content
            known = {
                "version": content.version,
                "signer": signer_as_json(content.signer),
                "identifier": content.identifier,
            }
            known |= {"warnings": list(trusted.warnings)}
            dates = {"created": timestamp(content.created), "expires": timestamp(content.expires)}
            return {
                **base,
                "verdict": "trusted",
                "reason": "",
                **known,
                **dates,
                "images": len(content.images),
                "ends": _ends(item),
            }
        case Unknown() as unknown:
            known = {"verdict": str(unknown.verdict), "reason": unknown.reason, "hint": unknown.hint}
            return {**base, **known, "version": None, "signer": None, "identifier": unknown.list}
        case None:
            return {**base, "version": None, "signer": None}


def _ends(item: Seen) -> list[dict[str, str]]:
    """Return when what the list rests on ends, by the certificates and revocation lists of this pass."""
    pieces = item.remember.evidence if item.remember else ()
    return [{"matter": str(end.matter), "subject": end.subject, "at": timestamp(end.at)} for end in ends(pieces)]


def notice_as_json(notice: Notice) -> dict[str, str]:
    """Return what is told ahead of a list, as every report has it."""
    return {
        "level": str(notice.level),
        "matter": str(notice.matter),
        "subject": notice.subject,
        "at": timestamp(notice.at),
        "text": notice.text,
    }


def signer_as_json(signer: Signer) -> dict[str, str]:
    """Return who signed, as every command shows it."""
    identity = signer.identity
    return {"dn": identity.dn, "ca": identity.ca, "not_after": timestamp(signer.not_after), "sha256": signer.sha256}


def _target_as_json(result: TargetResult) -> dict[str, Any]:
    actions = [_outcome_as_json(outcome) for outcome in result.outcomes]
    if not actions and result.plan is not None:
        actions = [action_as_json(action) for action in result.plan.actions]
    error = str(result.error) if result.error else None
    return {
        "name": result.name,
        "outcome": str(_target_outcome(result)),
        "error": error,
        "error_reason": result.error.reason if result.error else None,
        "paused": pause_as_json(result.pause),
        "notices": list(result.notices),
        "actions": actions,
    }


def _target_outcome(result: TargetResult) -> Ending:
    words = {outcome.outcome for outcome in result.outcomes}
    if result.error is not None or Ending.FAILED in words:
        return Ending.FAILED
    return Ending.HELD if Ending.HELD in words else Ending.DONE


def _outcome_as_json(outcome: Outcome) -> dict[str, Any]:
    return {
        **action_as_json(outcome.action),
        "outcome": str(outcome.outcome),
        "error": str(outcome.error) if outcome.error else None,
        "error_reason": outcome.error.reason if outcome.error else None,
        "bytes_downloaded": outcome.downloaded,
        "bytes_uploaded": outcome.uploaded,
        "seconds": outcome.seconds,
        **({"boot": asdict(outcome.boot)} if outcome.boot else {}),
    }


def _totals(outcomes: list[Outcome]) -> dict[str, Any]:
    return {
        "actions": dict(sorted(Counter(str(outcome.action.kind) for outcome in outcomes).items())),
        "outcomes": dict(sorted(Counter(str(outcome.outcome) for outcome in outcomes).items())),
        "bytes_downloaded": sum(outcome.downloaded for outcome in outcomes),
        "bytes_uploaded": sum(outcome.uploaded for outcome in outcomes),
        "seconds": round(sum(outcome.seconds for outcome in outcomes), 3),
    }


def _verdict(item: Seen) -> Verdict:
    return item.observation.verdict if isinstance(item.observation, Unknown) else Verdict.TRUSTED
