"""Snakemake and what its jobs import, loaded once: runs and jobs are forks of one server, not new interpreters.

Beyond what is loaded nothing is shared: each run and each job is a process of its own, as it is without the server.

    server ── run, which leads a process group ─┬─ snakemake
                                                └─ the jobs: snakemake's shell asks for them with this file as `python`
"""

import atexit
import gc
import json
import os
import runpy
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

ADDRESS = "TESSERA_TEST_ENGINE"  # the environment variable that names the server's socket
QUIET = {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}  # read when libraries are imported
LOADED = (
    "snakemake.cli",
    "snakemake.script",
    "snakemake.report.html_reporter",
    "jsonschema",
    "matplotlib.pyplot",
    "PIL.Image",
    "pyarrow.parquet",
    "sae_lens",
    "scipy.sparse",
    "sklearn.feature_extraction.text",
    "sklearn.linear_model",
    "sklearn.model_selection",
    "threadpoolctl",
    "torch",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.processing_auto",
    "transformers.models.bert.modeling_bert",
)


# The tests' side


def start_server() -> Callable[[], None]:
    """Start a server, which imports with its first run; what stops it."""
    folder = tempfile.TemporaryDirectory(prefix="engine-")
    os.environ[ADDRESS] = f"{folder.name}/server"
    with listen(os.environ[ADDRESS]) as listener:
        command = [sys.executable, __file__, "serve", str(listener.fileno())]
        given = {"stdin": subprocess.PIPE, "pass_fds": [listener.fileno()]}
        process = subprocess.Popen(command, env={**os.environ, **QUIET}, **given)

    def stop() -> None:
        process.communicate()
        folder.cleanup()

    return stop


class Run:
    """A run of Snakemake in a process group of its own; to its user a subprocess.Popen."""

    def __init__(self, arguments: list[str], folder: Path, environment: dict[str, str], output: int):
        self.returncode: int | None = None
        self.answers = ask(os.environ[ADDRESS], arguments, str(folder), environment, [output] * 3).makefile()
        self.pid = int(self.answers.readline())

    def poll(self) -> int | None:
        return self.wait() if select.select([self.answers], [], [], 0)[0] else self.returncode

    def wait(self) -> int:
        if self.returncode is None:
            self.returncode = int(self.answers.readline() or -signal.SIGKILL)
        return self.returncode


def ask(address: str, arguments: list[str], folder: str, environment: dict, files: list[int]) -> socket.socket:
    """Ask for a process with these arguments, folder, environment and standard files; the connection to it."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address)
    request = {"arguments": arguments, "folder": folder, "environment": environment}
    socket.send_fds(connection, [b"\n"], files)
    connection.sendall(json.dumps(request).encode() + b"\n")
    return connection


# The server's side


def listen(address: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    return listener


def serve(listener: socket.socket, work: Callable[[socket.socket, dict], None], alive: int) -> None:
    """Fork for each request and do `work` there, until the other end of the pipe `alive` is closed."""
    while alive not in (ready := select.select([listener, alive], [], [])[0]):
        assert ready
        connection, _ = listener.accept()
        files = socket.recv_fds(connection, 1, 3)[1]
        request = json.loads(connection.makefile().readline())
        if os.fork() == 0:
            listener.close()
            os.close(alive)
            for standard, file in enumerate(files):
                os.dup2(file, standard)
                os.close(file)
            os.chdir(request["folder"])
            os.environ.clear()
            os.environ.update(request["environment"])
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            work(connection, request)
            raise AssertionError("work ends its process")
        connection.close()
        for file in files:
            os.close(file)


def run(connection: socket.socket, request: dict) -> None:
    """Fork Snakemake, and its jobs as it asks for them."""
    os.setsid()
    address = f"{os.environ[ADDRESS]}-{os.getpid()}"
    listener = listen(address)
    alive, held = os.pipe()
    snakemake = os.fork()
    if snakemake == 0:
        for inherited in (connection, listener):
            inherited.close()
        os.close(alive)
        sys.executable = shlex.join([sys.executable, "-IS", __file__, "python", address])  # Snakemake does not quote it
        sys.dont_write_bytecode = True  # tests change files more than once a second
        sys.path.insert(0, request["folder"])
        sys.argv = ["snakemake", *request["arguments"]]
        sys.modules["snakemake.workflow"].Workflow._rundir = request["folder"]  # read when Snakemake is imported
        os._exit(code_of(lambda: runpy.run_module("snakemake", run_name="__main__", alter_sys=True)))
    os.close(held)
    connection.sendall(f"{os.getpid()}\n".encode())
    serve(listener, job, alive)
    code = os.waitstatus_to_exitcode(os.waitpid(snakemake, 0)[1])
    Path(address).unlink()
    connection.sendall(f"{code}\n".encode())
    os._exit(0)


def job(connection: socket.socket, request: dict) -> None:
    """Run a script as `python script` does, with as many threads as its environment says."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(int(os.environ["OMP_NUM_THREADS"]))
    script = request["arguments"][0]
    sys.path.insert(0, str(Path(script).parent))
    sys.argv = request["arguments"]
    code = code_of(lambda: runpy.run_path(script, run_name="__main__"))
    connection.sendall(f"{code}\n".encode())
    os._exit(code)


def code_of(main: Callable[[], object]) -> int:
    """The exit code of an interpreter that has run `main` and all that is left to do at its end."""
    code = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if code and not isinstance(ended.code, int):
            print(ended.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def python(address: str, arguments: list[str]) -> None:
    """In place of the interpreter: a script is run by the server, anything else by the interpreter."""
    if not arguments[0].endswith(".py"):
        os.execv(sys.executable, [sys.executable, *arguments])
    with ask(address, arguments, str(Path.cwd()), dict(os.environ), [0, 1, 2]).makefile() as answers:
        said = answers.read()
    if not said:
        os.kill(os.getpid(), signal.SIGKILL)
    sys.exit(int(said))


def main(listener: socket.socket) -> None:
    """Serve runs until the tests are over."""
    sys.path.pop(0)  # the tests' folder
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    if sys.stdin.fileno() not in select.select([listener, sys.stdin], [], [])[0]:
        for name in LOADED:
            import_module(name)
        gc.freeze()  # collections in the forks leave alone what is shared
        serve(listener, run, os.dup(sys.stdin.fileno()))


if __name__ == "__main__" and sys.argv[1] == "serve":
    main(socket.socket(fileno=int(sys.argv[2])))
elif __name__ == "__main__":
    python(sys.argv[2], sys.argv[3:])
