"""What a run says while it runs: a line per finished stage and per failed job, from the engine's log records."""

import logging
import re
import time
from collections import Counter, defaultdict
from pathlib import Path

# Events of the engine that this replaces on the terminal; its own log file keeps them.
REPLACED = {"job_info", "job_started", "job_finished", "job_error", "group_info", "group_error", "progress", "shellcmd"}
# Messages without an event that say no more than those lines.
NOISE = ("Select jobs to execute...", "RuleException:\nCalledProcessError")
PATIENCE = 60  # seconds without a line after which the next finished job gets one
LOOK = "explorer"  # the rule whose first file a person opens
CAUSE = re.compile(r"\berror: (.+?)(?: \(log: .*\))?$", re.MULTILINE)


def attach(logger: logging.Logger) -> None:
    """Put these lines in place of the engine's pages, on the terminal only; nothing where the user chose a logger."""
    for handler in list(logger.handlers):
        if handler.name == "DefaultStreamHandler":
            handler.addFilter(is_kept)
            logger.addHandler(Progress(handler.stream))


class Progress(logging.Handler):
    """Write a line when all jobs of a rule are done, once a minute in between, and for each failed job."""

    def __init__(self, stream, clock=time.monotonic):
        super().__init__(logging.INFO)
        self.stream, self.clock = stream, clock
        self.planned: dict[str, int] = {}
        self.rules: dict[int, str] = {}
        self.started: dict[int, float] = {}
        self.first: dict[str, float] = {}
        self.done: Counter[str] = Counter()
        self.page: str | None = None
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.begun = self.told = clock()

    def emit(self, record: logging.LogRecord) -> None:
        handle = getattr(self, f"on_{event(record)}", None)
        try:
            if handle:
                handle(record)
        except Exception:  # as logging asks of a handler: said on stderr, and the run goes on
            self.handleError(record)

    def on_run_info(self, record) -> None:
        self.planned = {rule: count for rule, count in record.stats.items() if rule != "total"}
        self.begun = self.told = self.clock()

    def on_job_info(self, record) -> None:
        now = self.clock()
        self.rules[record.jobid], self.started[record.jobid] = record.rule_name, now
        self.first.setdefault(record.rule_name, now)
        if record.rule_name == LOOK:
            self.page = next(iter(record.output))

    def on_job_finished(self, record) -> None:
        now, rule = self.clock(), self.rules.get(record.job_id)
        if rule is None:
            return
        self.done[rule] += 1
        self.seconds[rule] += now - self.started[record.job_id]
        whole = self.done[rule] == self.planned.get(rule)
        if whole or now - self.told > PATIENCE:
            took = f" in {span(now - self.first[rule])}" if whole else ""
            self.say(f"{rule}: {self.done[rule]} of {self.planned.get(rule, '?')} done{took}; {self._rest(now)}")
        if self.page and self.done.total() == sum(self.planned.values()):
            self.say(f"to look at the study, open {self.page} in a browser")

    def on_job_error(self, record) -> None:
        log = next(iter(record.log), None)
        place = f", see {log}" if log else ""
        reason = cause(log) or record.rule_msg or "nothing in its log: the job was killed, or ran out of memory or time"
        self.say(f"{record.rule_name} FAILED: {reason}{place}")

    def _rest(self, now: float) -> str:
        """All jobs done so far, and the time left if the rest takes as long, rule by rule, as what is done."""
        finished, planned = sum(self.done.values()), sum(self.planned.values())
        mean = sum(self.seconds.values()) / max(1, finished)
        left = sum(
            (count - self.done[rule]) * (self.seconds[rule] / self.done[rule] if self.done[rule] else mean)
            for rule, count in self.planned.items()
        )
        at_once = max(1.0, sum(self.seconds.values()) / max(1e-9, now - self.begun))
        return f"{finished} of {planned} jobs, about {span(left / at_once)} left" if finished < planned else "all done"

    def say(self, line: str) -> None:
        self.told = self.clock()
        self.stream.write(f"{time.strftime('%H:%M:%S')} {line}\n")
        self.stream.flush()


def event(record: logging.LogRecord) -> str | None:
    """The name of the engine's event that a record stands for."""
    found = getattr(record, "event", None)
    return getattr(found, "value", None)


def is_kept(record: logging.LogRecord) -> bool:
    """Does the terminal show a record as the engine writes it? Not what the lines here replace."""
    return event(record) not in REPLACED and not record.getMessage().startswith(NOISE)


def cause(log: str | None) -> str | None:
    """Why a job failed: the last line of its log that names an error, else its last line; None where there is none."""
    try:
        lines = [line.strip() for line in Path(log).read_text(errors="replace").splitlines() if line.strip()]
    except (OSError, TypeError):
        return None
    named = [found[1] for line in lines if (found := CAUSE.search(line))]
    return (named or lines or [None])[-1]


def span(seconds: float) -> str:
    """A time as a person says it: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
