"""Lines about a run, from the engine's log records as they come."""

import io
import logging
from types import SimpleNamespace

import pytest
from tessera.base.progress import Progress, attach, cause, is_kept, span


def record(event: str | None = None, message: str | None = None, **values) -> logging.LogRecord:
    made = logging.LogRecord("snakemake", logging.INFO, "", 0, message, (), None)
    if event:
        made.event = SimpleNamespace(value=event)
    for key, value in values.items():
        setattr(made, key, value)
    return made


class Run:
    """A run whose clock stands still unless told."""

    def __init__(self, **stats: int):
        self.now, self.stream = 0.0, io.StringIO()
        self.progress = Progress(self.stream, clock=lambda: self.now)
        self.progress.emit(record("run_info", stats={**stats, "total": sum(stats.values())}))

    def job(self, rule: str, number: int, seconds: float) -> None:
        self.progress.emit(record("job_info", jobid=number, rule_name=rule))
        self.now += seconds
        self.progress.emit(record("job_finished", job_id=number))

    @property
    def lines(self) -> list[str]:
        return [line.split(" ", 1)[1] for line in self.stream.getvalue().splitlines()]


def test_a_stage_says_one_line_when_its_last_job_is_done():
    run = Run(extract=2, probe=3)
    run.job("extract", 1, 10)
    assert run.lines == []
    run.job("extract", 2, 30)
    assert run.lines == ["extract: 2 of 2 done in 40 s; 2 of 5 jobs, about 60 s left"]
    for number in (3, 4, 5):
        run.job("probe", number, 1)
    assert run.lines[1:] == ["probe: 3 of 3 done in 3 s; all done"]


def test_a_long_stage_says_a_line_a_minute():
    run = Run(probe=100)
    for number in range(20):
        run.job("probe", number, 10)
    assert run.lines == [
        f"probe: {done} of 100 done; {done} of 100 jobs, about {span((100 - done) * 10)} left" for done in (7, 14)
    ]


def test_jobs_at_a_time_shorten_what_is_left():
    run = Run(probe=12)
    for number in range(4):
        run.progress.emit(record("job_info", jobid=number, rule_name="probe"))
    run.now = 61
    run.progress.emit(record("job_finished", job_id=0))
    for number in range(1, 4):
        run.progress.emit(record("job_finished", job_id=number))
    run.now = 122.5
    run.progress.emit(record("job_info", jobid=4, rule_name="probe"))
    run.progress.emit(record("job_finished", job_id=4))
    assert run.lines[-1] == "probe: 5 of 12 done; 5 of 12 jobs, about 3 min left"  # 7 × 48.8 s, 2 at a time


@pytest.mark.parametrize(
    ("log", "message", "said"),
    [
        ("10:00 error: shard 3 is damaged\n", None, "shard 3 is damaged"),
        ("Traceback …\n  File x\nValueError: no such thing\n", None, "ValueError: no such thing"),
        ("", "SLURM status is: 'OUT_OF_MEMORY'", "SLURM status is: 'OUT_OF_MEMORY'"),
        ("started\n", None, "started"),
        ("", None, "nothing in its log: the job was killed, or ran out of memory or time"),
    ],
)
def test_a_failed_job_names_its_log_and_the_cause(tmp_path, log, message, said):
    file = tmp_path / "probe.log"
    file.write_text(log)
    run = Run(probe=1)
    run.progress.emit(record("job_error", jobid=1, rule_name="probe", rule_msg=message, log=[str(file)]))
    assert run.lines == [f"probe FAILED: {said}, see {file}"]


def test_a_failed_job_without_a_log():
    assert cause("no such file") is None
    run = Run(all=1)
    run.progress.emit(record("job_error", jobid=1, rule_name="all", rule_msg="missing output", log=[]))
    assert run.lines == ["all FAILED: missing output"]


def test_the_terminal_keeps_what_is_not_replaced():
    assert not is_kept(record("job_info", "Job 3: probes"))
    assert not is_kept(record("progress"))
    assert not is_kept(record(None, "Select jobs to execute..."))
    assert not is_kept(record(None, "RuleException:\nCalledProcessError in file x"))
    assert is_kept(record(None, "Nothing to be done"))
    assert is_kept(record("run_info", "Job stats"))


def test_a_record_that_does_not_fit_stops_no_run(capsys):
    Run(probe=1).progress.emit(record("job_info"))
    assert "Logging error" in capsys.readouterr().err


def test_lines_stand_in_for_the_default_handler_only():
    logger, stream = logging.Logger("engine"), io.StringIO()
    own, default = logging.StreamHandler(io.StringIO()), logging.StreamHandler(stream)
    default.name = "DefaultStreamHandler"
    logger.addHandler(own)
    attach(logger)
    assert logger.handlers == [own]
    logger.addHandler(default)
    attach(logger)
    logger.handle(record("job_info", "a page", jobid=1, rule_name="probe"))
    logger.handle(record("run_info", "Job stats", stats={"probe": 1}))
    assert stream.getvalue() == "Job stats\n"
    assert own.stream.getvalue() == "a page\nJob stats\n"
