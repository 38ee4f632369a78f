"""What stands between clients and the model, each part only where a flag asks for it: tokens, TLS, logs of requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from tidegate.errors import Temporary
from tidegate_runtime.clients import Doorkeeper
from tidegate_runtime.metrics import Family, Values
from tidegate_runtime.reloading import Reloading, Unusable
from tidegate_runtime.request_log import RequestLog
from tidegate_runtime.settings import Settings
from tidegate_runtime.tls import TlsFiles

REFUSALS: Final = (401, 403)
HANDSHAKES: Final = "handshakes"


@dataclass(frozen=True, slots=True)
class Protection:
    """The parts; None where no flag asks for one."""

    doorkeeper: Doorkeeper | None
    tls: TlsFiles | None
    log: RequestLog | None
    reloading: Reloading

    @classmethod
    def of(cls, settings: Settings) -> Protection:
        """Read every file, open every log; raises Temporary with what is wrong in one of them."""
        try:
            doorkeeper = Doorkeeper(settings.auth_file) if settings.auth_file else None
        except Unusable as error:
            raise Temporary(str(error), reason="AuthFileUnusable", do="see docs/access.md for its form") from None
        try:
            tls = _tls(settings)
        except Unusable as error:
            raise Temporary(str(error), reason="TlsFilesUnusable", do="give a PEM certificate and its key") from None
        log = RequestLog(settings) if settings.audit_log or settings.access_log else None
        reloading = Reloading(tuple(part for part in (doorkeeper, tls) if part is not None))
        return cls(doorkeeper, tls, log, reloading)

    def start(self) -> None:
        self.reloading.start()
        for log in self.log.logs if self.log else ():
            log.start()

    def stop(self) -> None:
        """Write what the logs still hold."""
        self.reloading.stop()
        for log in self.log.logs if self.log else ():
            log.stop()

    def counts(self) -> dict[str, int]:
        """What the parts have counted, by names that `families` knows."""
        found: dict[str, int] = {}
        if self.doorkeeper is not None:
            found |= {str(code): self.doorkeeper.refused[code] for code in REFUSALS}
        if self.tls is not None:
            found[HANDSHAKES] = self.tls.failed
        if self.log is not None:
            found |= {log.name: log.lost for log in self.log.logs}
        return found

    def families(self, counts: Mapping[str, int]) -> Iterator[Family]:
        """The metrics of the parts that are there; `counts` are those of all processes."""
        if self.doorkeeper is not None:
            refused: Values = [({"code": str(code)}, float(counts[str(code)])) for code in REFUSALS]
            yield "access_refused_total", "counter", "Requests refused for want of a token or a scope.", refused
        if self.tls is not None:
            failed = float(counts[HANDSHAKES])
            yield "tls_handshakes_failed_total", "counter", "TLS handshakes without a connection.", [({}, failed)]
            end: Values = [] if self.tls.expires is None else [({}, self.tls.expires)]
            yield "tls_expiry_time_seconds", "gauge", "When the server's certificate expires (Unix time).", end
        if failing := self.reloading.failing:
            now: Values = [({"file": flag}, float(bad)) for flag, bad in failing.items()]
            yield "reload_failing", "gauge", "1 while what a file says is not used: the last good one is.", now
        if self.log is not None:
            lost: Values = [({"log": log.name}, float(counts[log.name])) for log in self.log.logs]
            yield "log_lines_dropped_total", "counter", "Lines of a log that were too many or did not fit.", lost


def _tls(settings: Settings) -> TlsFiles | None:
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return TlsFiles(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
