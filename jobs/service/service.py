"""The service: leases, worker groups, telemetry and the HTTP server, from start to stop.

The configuration is served by worker groups. When it changes, new ones replace the old, whose
running jobs finish.
"""

import logging
import os
import threading
import time

from forecaster.config.settings import Config
from forecaster.store.connection.engine import open_engine
from forecaster.store.connection.limits import Fence
from forecaster.store.state import leases
from jobs.execution import hang_detection
from jobs.execution.clock import Clock
from jobs.http import probes, server
from jobs.http.probes import Probes
from jobs.replicas.hooks import Hooks
from jobs.replicas.identity import new_holder
from jobs.replicas.lease_keeper import Replica
from jobs.service.activity_poll import ActivityPoll
from jobs.service.config_reload import Refused, Reloader, Staged
from jobs.service.context import Context
from jobs.service.worker_groups import WorkerGroups
from jobs.telemetry import record
from jobs.telemetry.metrics import Telemetry

WATCH_EVERY = 1.0
POLL_EVERY = 5.0
"""Seconds between two looks at the configuration."""
FINISH_SECONDS = 5.5
"""How long a stop waits for running ticks; what is not done by then runs at the next start."""
RELEASE_SECONDS = 1.5
"""How long it then waits until the leases are released; they expire by themselves."""
HUNG = 75
"""The exit status after a hang: the supervisor is expected to restart the service."""

log = logging.getLogger("forecaster")


class Service:
    """Everything that serves: `listen`, `start`, `wait`, `stop`, in this order."""

    def __init__(
        self,
        config: Config,
        telemetry: Telemetry,
        *,
        clock: Clock,
        stopping: threading.Event,
        reloader: Reloader | None = None,
    ) -> None:
        """Prepare to serve `config`, and what `reloader` finds of it later, until `stopping`."""
        self.stopping = stopping
        holder = new_holder()
        session = leases.session_name(holder)
        self.engine = open_engine(config.database_url, application_name=session)
        self._lease_engine = open_engine(config.database_url, application_name=session)
        self._config, self._telemetry = config, telemetry
        self._reloader = reloader
        self._replica = Replica(
            self._lease_engine,
            tuple(config.datasets),
            holder=holder,
            ttl=config.lease_ttl,
            hooks=Hooks(changed=self._lease_changed, skewed=telemetry.clock_skew.set, clock=clock),
        )
        self._context = Context(
            engine=self.engine,
            telemetry=telemetry,
            clock=clock,
            stopping=self.stopping,
            using=self._replica.using,
        )
        self._workers = WorkerGroups(config, self._context)
        self._probes = Probes(self.engine, config.datasets, clock=clock)
        self._activity_poll = ActivityPoll(self.engine, telemetry, self._context.counters, clock)
        self._server: server.Server | None = None
        self._reloading = threading.Lock()
        self._swapping = threading.Lock()
        self._polling = threading.Thread(target=self._poll, name="poll", daemon=True)

    @property
    def url(self) -> str:
        """Where the HTTP server listens."""
        assert self._server is not None
        return self._server.url

    def listen(self) -> None:
        """Serve HTTP; ConfigError when the address is taken."""
        pages = server.Pages(
            telemetry=self._telemetry,
            live=lambda: probes.live(
                {
                    "scheduler": self._workers.silent_for,
                    "lease renewal": self._replica.silent_for,
                }
            ),
            ready=self._probes.ready,
            datasets=self._probes.documents,
        )
        self._server = server.start(pages, self._config.server)

    def start(self) -> None:
        """Start the timers, and the threads that acquire leases and poll."""
        self._workers.start()
        self._replica.start()
        self._polling.start()

    def wait(self) -> None:
        """Watch the scheduler until `stopping` is set; exit when a stage hangs."""
        while not self.stopping.wait(WATCH_EVERY):
            self._workers.check_clock()
            self._telemetry.heartbeat.set(time.time() - self._workers.silent_for())
            if hung := hang_detection.overdue(by=hang_detection.HOPELESS):
                log.critical(
                    "%s; exiting with status 75 so that the service is restarted", "; ".join(hung)
                )
                logging.shutdown()
                os._exit(HUNG)

    def stop(self) -> bool:
        """Stop, kill a training, wait for running ticks; False when one had to be cancelled."""
        self.stopping.set()
        with self._swapping:
            self._workers.stop()
            self._replica.serve(())  # another replica may have what is idle at once
        done = self._context.busy.wait_until_idle(FINISH_SECONDS)
        self._release()
        if self._server is not None:
            self._server.stop()
        for engine in (self.engine, self._lease_engine):
            engine.dispose()
        return done

    def _release(self) -> None:
        """Release the leases, and let the poll finish, within RELEASE_SECONDS."""
        until = time.monotonic() + RELEASE_SECONDS
        releasing = threading.Thread(target=self._replica.stop, name="release", daemon=True)
        releasing.start()
        for thread in (releasing, self._polling):
            if thread.is_alive():
                thread.join(max(0.0, until - time.monotonic()))

    def reload(self) -> None:
        """Apply the configuration if it has changed and is valid.

        May be called from any thread; calls take turns, so that a change is applied once.
        """
        assert self._reloader is not None
        with self._reloading:
            match self._reloader.poll():
                case Refused(reason):
                    self._telemetry.config_reloads.labels("refused").inc()
                    log.error("configuration reload rejected, keeping the previous one: %s", reason)
                case Staged() as staged:
                    with self._swapping:
                        if not self.stopping.is_set():
                            self._swap(staged)

    def _swap(self, staged: Staged) -> None:
        try:
            workers = WorkerGroups(staged.config, self._context)
            self._telemetry.serve(staged.config.datasets)
            workers.start()
        except Exception:
            self._telemetry.serve(self._config.datasets)
            self._telemetry.config_reloads.labels("failed").inc()
            log.exception("configuration reload failed, keeping the previous one")
            return
        self._context.job_states.reset_backoffs(_changed(self._config, staged.config))
        before, self._workers = self._workers, workers
        before.stop()
        self._config = staged.config
        self._probes.serve(staged.config.datasets)
        self._replica.serve(tuple(staged.config.datasets))
        assert self._reloader is not None
        self._reloader.accept(staged)
        self._telemetry.config_reloads.labels("applied").inc()
        self._telemetry.config_reloaded.set(time.time())
        log.info("configuration reloaded")
        for note in staged.notes:
            log.warning(note)

    def _poll(self) -> None:
        """Poll the configuration and the activity of other processes, and update gauges."""
        while True:
            try:
                self._poll_once()
            except Exception:
                log.exception("could not poll the configuration and the datasets")
            if self.stopping.wait(POLL_EVERY):
                return

    def _poll_once(self) -> None:
        if self._reloader is not None:
            self.reload()
        for dataset in self._activity_poll.poll(self._config.datasets):
            if dataset in self._config.datasets:
                self._workers.wake(dataset)

    def _lease_changed(self, dataset: str, fence: Fence | None) -> None:
        record.lease(self._telemetry, dataset, None if fence is None else fence.token)
        if fence is not None:
            self._workers.wake(dataset)


def _changed(before: Config, after: Config) -> set[str]:
    """Return the datasets whose settings changed: what failed may work now."""
    return {name for name, config in after.datasets.items() if before.datasets.get(name) != config}
