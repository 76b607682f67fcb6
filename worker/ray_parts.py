"""Runs the shares of a job as tasks of a Ray cluster. What to run, and what its results mean, is decided by who starts this.

The first line of stdin is the job: { address, program, args, shares, numShares, environment, maxRetries }. A share i runs
`program args --part i/numShares` on some machine of the cluster. stdin stays open; when it ends, all tasks are cancelled.
stdout is JSON lines:
  { type: ready, numMachines, numCpus }
  { type: done, share, machine, code, output, error }   the program's exit code (null: no such program there), stdout and stderr
  { type: lost, machine }                               Ray tries its tasks again elsewhere
  { type: failed, what: package | cluster | task, detail }   the last line
"""

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

CONNECT_SECONDS = 5
# A cluster starts a server for each client, which a busy machine may be too slow for.
CONNECT_ATTEMPTS = 3
POLL_SECONDS = 1
STDERR_CHARS = 4000
DETAIL_CHARS = 500
PR_SET_PDEATHSIG = 1


class Failed(Exception):
    def __init__(self, what, detail):
        super().__init__(what, detail)
        self.message = {"type": "failed", "what": what, "detail": str(detail).strip()}


def do_share(job, share):
    """On a machine of the cluster. Raises ChildProcessError where the program was killed, which is worth another try."""
    machine = socket.gethostname()
    program = job["program"]
    if not all(map(os.path.exists, program)):
        program = [shutil.which("continuo")]
    if program == [None]:
        return {"machine": machine, "code": None, "output": "", "error": ""}
    # A worker that is killed must not leave a program behind that goes on writing (Linux alone can say so).
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    run = subprocess.run(
        [*program, *job["args"], "--part", f"{share}/{job['numShares']}"],
        env={**os.environ, **job["environment"]},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        preexec_fn=libc and (lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)),
    )
    if run.returncode < 0:
        raise ChildProcessError(f"on {machine}, the program of share {share} was killed by signal {-run.returncode}")
    return {"machine": machine, "code": run.returncode, "output": run.stdout, "error": run.stderr[-STDERR_CHARS:]}


def connect(address):
    try:
        import ray
    except ImportError as error:
        raise Failed("package", error)
    try:
        # Ray itself tries for two minutes where nobody listens.
        if address != "auto":
            host, port = address.removeprefix("ray://").rsplit(":", 1)
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
        for attempts_left in reversed(range(CONNECT_ATTEMPTS)):
            try:
                ray.init(address=address, log_to_driver=False, logging_level="ERROR")
                break
            except (ConnectionError, RuntimeError):
                if attempts_left == 0:
                    raise
                ray.shutdown()
                time.sleep(POLL_SECONDS)
    except ImportError as error:
        raise Failed("package", error)
    except Exception as error:
        raise Failed("cluster", error)
    return ray


def alive(ray):
    return {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}


def run(job, hung_up, report):
    ray = connect(job["address"])
    machines = alive(ray)
    report(type="ready", numMachines=len(machines), numCpus=int(ray.cluster_resources().get("CPU", 0)))
    task = ray.remote(num_cpus=1, max_retries=job["maxRetries"], retry_exceptions=[ChildProcessError])(do_share)
    job_ref = ray.put(job)
    pending = {task.remote(job_ref, share): share for share in job["shares"]}
    try:
        while pending and not hung_up.is_set():
            done, _ = ray.wait(list(pending), timeout=POLL_SECONDS)
            for ref in done:
                report(type="done", share=pending.pop(ref), **ray.get(ref))
            before, machines = machines, alive(ray)
            for gone in before.keys() - machines.keys():
                report(type="lost", machine=before[gone]["NodeManagerHostname"])
    except ray.exceptions.RayTaskError as error:
        raise Failed("task", error.cause)
    except Exception as error:
        raise Failed("task", str(error)[:DETAIL_CHARS])
    finally:
        for ref in pending:
            ray.cancel(ref)
        ray.shutdown()


def main():
    # Ray prints to stdout as it likes; ours is for the messages.
    messages = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def report(**message):
        print(json.dumps(message), file=messages, flush=True)

    job = json.loads(sys.stdin.readline())
    hung_up = threading.Event()

    def listen():
        sys.stdin.read()
        hung_up.set()

    threading.Thread(target=listen, daemon=True).start()
    try:
        run(job, hung_up, report)
    except Failed as failed:
        report(**failed.message)
    # The thread may hold stdin; an orderly end would wait for its lock.
    messages.flush()
    os._exit(0)


main()
