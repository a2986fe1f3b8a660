"""The program: time, arguments, signals and ports enter only here.

Start reading at `forecast`: pull -> predict -> write.

floor 3   reports, ticks                           what a run says; which instants are due
          pull, ingest                             rows arrive
          forecast, retrain, score, prune          one `run(...) -> Report` each
floor 4   catalog, telemetry, trainer              the jobs as data; Prometheus; the training child
          runner                                   a report becomes a run row, a log line, telemetry
          scheduler, server, service, demo, cli    what keeps it going, and what people type
"""
