"""The account's state: pools, jobs, tasks as their JSON says them; and a thread a task that takes it through its life.

A task whose node went away is run from the beginning in a new folder. `requeueCount` counts that only where a person
had it requeued, by a smaller pool or a disabled job: what Batch does to recover from failures it does not count.
"""

import copy
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.batch_double.node import Ended, Run, install
from tests.batch_double.wanted import Document, Refused, job_wanted, seconds, task_wanted

GONE, REQUEUED = "the node went away", "requeued"
OUT_OF_TIME = Ended(None, "TaskEnded", "Task was ended: its maximum wall clock time expired")


class Pool:
    """`slots` tasks run at a time in it, none while it has no nodes."""

    def __init__(self, stamp: Document, slots: int, *, containers: str, state: str) -> None:
        self.slots, self.busy = slots, 0
        machine: Document = {
            "imageReference": {"publisher": "microsoft-dsvm", "offer": "ubuntu-hpc", "sku": "2204"},
            "nodeAgentSKUId": "batch.node.ubuntu 22.04",
        }
        if containers:
            machine["containerConfiguration"] = {"type": containers}
        self.document: Document = {
            **stamp,
            "state": state,
            "vmSize": "standard_d2s_v3",
            "virtualMachineConfiguration": machine,
            "currentDedicatedNodes": 1,
            "currentLowPriorityNodes": 0,
            "taskSlotsPerNode": slots,
        }


class Task:
    def __init__(self, document: Document, folder: Path) -> None:
        self.document, self.base = document, folder
        self.run: Run | None = None
        self.runs = 0
        self.no_files: Refused | None = None
        self.deleted = False

    @property
    def folder(self) -> Path:
        """Another one on each node."""
        return self.base / str(self.runs)


class Account:
    """`nodes` is the folder of their programs and notes, `ahead_s` by how much its clock is before this host's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ahead_s = 0.0
        self.nodes = folder / "node"
        self._programs = install(self.nodes)
        self.pools: dict[str, Pool] = {}
        self.jobs: dict[str, Document] = {}
        self.tasks: dict[str, dict[str, Task]] = {}
        self.lock = threading.Condition(threading.RLock())
        self.closing = False

    # ---- what tests do ------------------------------------------------------------------------------------------

    def add_pool(
        self, name: str, slots: int = 4, *, containers: str = "dockerCompatible", state: str = "active"
    ) -> Pool:
        with self.lock:
            self.pools[name] = Pool(self.stamped(name, "pools"), slots, containers=containers, state=state)
            self.lock.notify_all()
            return self.pools[name]

    def resize(self, name: str, slots: int) -> None:
        with self.lock:
            self.pools[name].slots = slots
            self.lock.notify_all()

    def one(self, state: str = "") -> Task | None:
        """The only task, if it is in this state."""
        with self.lock:
            found = [task for tasks in self.tasks.values() for task in tasks.values()]
            return found[0] if len(found) == 1 and state in ("", found[0].document["state"]) else None

    def lose_node(self, task: Task) -> None:
        """A running task's node fails, or is preempted: Batch runs the task anew on another."""
        with self.lock:
            assert task.run is not None
            task.run.end(Ended(None, GONE))

    def requeue(self, task: Task) -> None:
        """Somebody makes the pool smaller, and has running tasks requeued."""
        with self.lock:
            assert task.run is not None
            task.run.end(Ended(None, REQUEUED))

    def run_out(self, task: Task) -> None:
        """All the time that a running task may take has gone by: the account's clock goes on by as much."""
        with self.lock:
            assert task.run is not None
            self.ahead_s += seconds(task.document["constraints"]["maxWallClockTime"])
            task.run.end(OUT_OF_TIME)

    def lose_files(self, task: Task, status: int = 404, code: str = "NodeNotFound") -> None:
        """The node of a task is gone, or cannot be asked, and its files with it."""
        task.no_files = Refused(status, code, "The node says nothing.")

    def terminate_job(self, name: str) -> None:
        """Somebody ends a job, and with it all of its tasks."""
        with self.lock:
            self.jobs[name]["state"] = "completed"
            for task in self.tasks[name].values():
                self._end(task, Ended(None, "TaskEnded", "Task Was Ended by User Request"))

    def delete_job(self, name: str) -> None:
        with self.lock:
            for task in list(self.tasks[name]):
                self.delete(name, task)
            del self.jobs[name], self.tasks[name]

    def close(self) -> None:
        """Ends all that runs."""
        with self.lock:
            self.closing = True
            for tasks in self.tasks.values():
                for task in tasks.values():
                    if task.run is not None:
                        task.run.end(Ended(None, "TaskEnded"))
            self.lock.notify_all()

    # ---- what callers do ----------------------------------------------------------------------------------------

    def pool(self, name: str) -> Document:
        with self.lock:
            if name not in self.pools:
                raise Refused(404, "PoolNotFound", "The specified pool does not exist.")
            return self.pools[name].document

    def add_job(self, wanted: Document) -> None:
        with self.lock:
            name = job_wanted(wanted)
            if name.lower() in {known.lower() for known in self.jobs}:
                raise Refused(409, "JobExists", "The specified job already exists.")
            self.jobs[name] = {**self.stamped(name, "jobs"), **wanted, "state": "active"}
            self.tasks[name] = {}

    def job(self, name: str) -> Document:
        with self.lock:
            if name not in self.jobs:
                raise Refused(404, "JobNotFound", "The specified job does not exist.")
            return self.jobs[name]

    def add_task(self, job: str, wanted: Document) -> Document:
        with self.lock:
            about = self.job(job)
            name = task_wanted(wanted)
            if about["state"] != "active":
                raise Refused(409, "JobCompleted", "The specified job is already in a completed state.")
            if name.lower() in {known.lower() for known in self.tasks[job]}:
                raise Refused(409, "TaskExists", "The specified task already exists.")
            stamp = self.stamped(name, f"jobs/{job}/tasks")
            document = {**stamp, **wanted, "state": "active", "executionInfo": {"retryCount": 0, "requeueCount": 0}}
            task = self.tasks[job][name] = Task(document, self.folder / "tasks" / job / name)
            name = f"task {job} {name}"
            threading.Thread(target=self._live, args=(job, task), name=name, daemon=True).start()
            return document

    def task(self, job: str, name: str) -> Task:
        with self.lock:
            self.job(job)
            if name not in self.tasks[job]:
                raise Refused(404, "TaskNotFound", "The specified task does not exist.")
            return self.tasks[job][name]

    def documents(self, job: str) -> list[Document]:
        with self.lock:
            self.job(job)
            return [copy.deepcopy(task.document) for task in self.tasks[job].values()]

    def terminate(self, job: str, name: str) -> None:
        with self.lock:
            task = self.task(job, name)
            if task.document["state"] == "completed":
                raise Refused(409, "TaskCompleted", "The specified task is already in a completed state.")
            self._end(task, Ended(None, "TaskEnded", "Task Was Ended by User Request"))

    def delete(self, job: str, name: str) -> None:
        with self.lock:
            task = self.task(job, name)
            task.deleted = True
            self._end(task, Ended(None, "TaskEnded"))
            del self.tasks[job][name]

    def file(self, job: str, name: str, path: str) -> Path:
        task = self.task(job, name)
        found = (task.folder / path).resolve()
        if task.no_files is not None:
            raise task.no_files
        if not found.is_relative_to(task.folder.resolve()) or not found.is_file():
            raise Refused(404, "FileNotFound", "The specified file does not exist.")
        return found

    # ---- a task's life ------------------------------------------------------------------------------------------

    def _end(self, task: Task, why: Ended) -> None:
        if task.run is not None:
            task.run.end(why)
        elif task.document["state"] == "active":
            self._complete(task, why)
        self.lock.notify_all()

    def _live(self, job: str, task: Task) -> None:
        slots = task.document.get("requiredSlots", 1)
        while True:
            with self.lock:
                while (pool := self._room(job, slots)) is None and not self._over(task):
                    self.lock.wait()
                if pool is None or self._over(task):
                    return
                pool.busy += slots
                run = task.run = self._begin(job, task)
            timer = self._timed(task, run)
            ended = run.work()
            if timer is not None:
                timer.cancel()
            with self.lock:
                pool.busy -= slots
                task.run = None
                self.lock.notify_all()
                if ended.code not in (GONE, REQUEUED) or self.closing:
                    self._complete(task, ended)
                    return
                self._again(task, counted=ended.code == REQUEUED)

    def _room(self, job: str, slots: int) -> Pool | None:
        """The pool of a job, if it has room; a job's pool need not be there."""
        about = self.jobs.get(job)
        pool = self.pools.get(about["poolInfo"]["poolId"]) if about is not None else None
        return pool if pool is not None and pool.busy + slots <= pool.slots else None

    def _over(self, task: Task) -> bool:
        return self.closing or task.deleted or task.document["state"] == "completed"

    def _begin(self, job: str, task: Task) -> Run:
        document, about = task.document, self.jobs[job]["poolInfo"]["poolId"]
        task.runs += 1
        node = f"tvmps_{about}_{task.runs}"
        self._move(document, "preparing")
        document["nodeInfo"] = {"nodeId": node, "poolId": about, "affinityId": f"TVM:{node}"}
        self._move(document, "running")
        document["executionInfo"]["startTime"] = self._now()
        environment = {
            "PATH": f"{self._programs}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "AZ_BATCH_ACCOUNT_NAME": "ionbatch",
            "AZ_BATCH_JOB_ID": job,
            "AZ_BATCH_TASK_ID": document["id"],
            "AZ_BATCH_POOL_ID": about,
            "AZ_BATCH_NODE_ID": node,
            "AZ_BATCH_TASK_DIR": str(task.folder),
            "AZ_BATCH_TASK_WORKING_DIR": str(task.folder / "wd"),
            **{one["name"]: one["value"] for one in document.get("environmentSettings") or ()},
        }
        return Run(task.folder, document, environment)

    def _timed(self, task: Task, run: Run) -> threading.Timer | None:
        limit = (task.document.get("constraints") or {}).get("maxWallClockTime")
        if not limit:
            return None
        timer = threading.Timer(seconds(limit), run.end, (OUT_OF_TIME,))
        timer.daemon = True
        timer.start()
        return timer

    def _again(self, task: Task, *, counted: bool) -> None:
        about = task.document["executionInfo"]
        if counted:
            about["requeueCount"] += 1
            about["lastRequeueTime"] = self._now()
        about.pop("startTime", None)
        task.document.pop("nodeInfo", None)
        self._move(task.document, "active")

    def _complete(self, task: Task, ended: Ended) -> None:
        about = task.document["executionInfo"]
        about["endTime"] = self._now()
        about["result"] = "failure" if ended.code else "success"
        if ended.exit_code is not None:
            about["exitCode"] = ended.exit_code if ended.exit_code >= 0 else 128 - ended.exit_code
        if ended.code:
            about["failureInfo"] = {"category": ended.category, "code": ended.code, "message": ended.message}
        self._move(task.document, "completed")

    def stamped(self, name: str, place: str) -> Document:
        """What Batch itself says of anything that was made."""
        now = self._now()
        return {
            "id": name,
            "url": f"http://127.0.0.1/{place}/{name}",
            "eTag": f"0x{time.time_ns():X}",
            "lastModified": now,
            "creationTime": now,
            "stateTransitionTime": now,
        }

    def _now(self) -> str:
        """To 100 ns, as Azure says times."""
        now = datetime.now(UTC) + timedelta(seconds=self.ahead_s)
        return now.isoformat(timespec="microseconds").replace("+00:00", "3Z")

    def _move(self, document: Document, state: str) -> None:
        document["previousState"], document["previousStateTransitionTime"] = (
            document["state"],
            document["stateTransitionTime"],
        )
        document["state"], document["stateTransitionTime"] = state, self._now()
