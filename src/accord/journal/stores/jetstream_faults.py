"""What goes wrong with a journal in NATS JetStream, as errors of the journal: one place for all of them."""

from __future__ import annotations

from accord.errors import JournalError

_SHOWN_MAX = 300  # characters of a foreign error


def unavailable(why: object) -> JournalError:
    text = " ".join(str(why).split())[:_SHOWN_MAX]
    return JournalError(
        f"The journal's log cannot be written{': ' if text else ''}{text}.",
        mend="Accord connects again by itself as soon as it can; nothing was kept.",
        code="journal.unavailable",
    )


def fenced() -> JournalError:
    return JournalError(
        "Another engine has taken over this journal.",
        mend="Stop this engine and start it again: it then stands by until the other one ends.",
        code="journal.fenced",
    )


def locked(owner: str) -> JournalError:
    return JournalError(
        f"The journal is in use by the engine on {owner}.",
        mend="Give the command to that engine, or stop it first.",
        code="journal.locked",
    )


def other_log(stream: str) -> JournalError:
    return JournalError(
        f"The journal on this machine belongs to another log than stream '{stream}'.",
        mend="Check `servers` and `stream`; to begin with what that log holds, move the local file away.",
        code="journal.other-log",
    )


def log_lost(stream: str, local: int, last: int) -> JournalError:
    return JournalError(
        f"The journal on this machine has applied entry {local} of stream '{stream}', which ends at {last}: the log has lost entries.",
        mend="Restore the stream from its backup, or move the local file away to go on with what the log still has.",
        code="journal.log-lost",
    )


def log_damaged(stream: str, what: str) -> JournalError:
    return JournalError(
        f"Stream '{stream}' is no whole log: {what}.",
        mend="Restore the stream from its backup; `accord journal verify` tells more.",
        code="journal.corrupt",
    )


def old_servers(version: str, needed: str) -> JournalError:
    return JournalError(
        f"A NATS server of version {version} loses entries of a trimmed log when it restarts: no snapshot is made, nothing is trimmed.",
        mend=f"Update all servers to {needed} or later; until then the log grows.",
        code="journal.old-servers",
    )


def snapshot_damaged(what: str) -> JournalError:
    return JournalError(
        f"A snapshot of the journal is damaged: {what}.",
        mend="The older one is used; the next snapshot takes this one's place.",
        code="journal.corrupt",
    )


def unfit_stream(stream: str, what: str) -> JournalError:
    return JournalError(
        f"Stream '{stream}' does not keep what the journal needs: {what}.",
        mend="Mend the stream (`nats stream edit`), name another one, or change the project's `store`.",
        code="journal.stream",
    )
