"""Measure one callable in a process of its own: wall time, CPU time and peak memory beyond what it started with."""

import multiprocessing
import statistics
import time
from collections.abc import Callable
from pathlib import Path


def _run(connection, prepare: Callable, work: Callable, arguments: tuple) -> None:
    state = prepare(*arguments)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counter starts at the present size
    before, wall, cpu = resident("VmRSS"), time.perf_counter(), time.process_time()
    result = work(state)
    times = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    connection.send(times | {"peak_mib": resident("VmHWM") - before, "result": result})


def resident(key: str) -> float:
    """Memory of this process in MiB: VmRSS at present, VmHWM at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024


def measure(prepare: Callable, work: Callable, *arguments) -> dict:
    """wall_s, cpu_s and peak_mib of `work(prepare(*arguments))`, the work alone, in a fresh process; its result."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(theirs, prepare, work, arguments))
    process.start()
    theirs.close()
    try:
        return mine.recv()
    except EOFError:
        raise SystemExit(f"{work.__name__} failed, see above") from None
    finally:
        process.join()


def side_by_side(rounds: int, contestants: dict[str, tuple]) -> dict[str, dict]:
    """Median of each measure per contestant; the contestants take turns, so that a busy moment hits all of them."""
    runs: dict[str, list[dict]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, (prepare, work, *arguments) in contestants.items():
            runs[name].append(measure(prepare, work, *arguments))
    keys = ("wall_s", "cpu_s", "peak_mib")
    return {
        name: {key: statistics.median(run[key] for run in found) for key in keys} | {"result": found[-1]["result"]}
        for name, found in runs.items()
    }


def table(rows: dict[str, dict], columns: dict[str, str]) -> str:
    """A markdown table; `columns` maps keys to formats."""
    lines = [" | ".join(["", *columns]), " | ".join(["---"] * (len(columns) + 1))]
    for name, row in rows.items():
        lines.append(" | ".join([name, *(format(row[key], spec) for key, spec in columns.items())]))
    return "\n".join(f"| {line} |" for line in lines)
