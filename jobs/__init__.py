"""The program: time, arguments, signals and ports enter only here.

Start reading at `forecast`: pull -> predict -> write.

floor 3   reports, dues, ticks                     what a run says; which ticks run; the clock
          pull, ingest                             rows arrive
          forecast, retrain, score, prune          one `run(...) -> Report` each
floor 4   catalog, telemetry, trainer              the jobs as data; Prometheus; the training child
          runner, observe                          a report becomes a run row, a log line, telemetry
          scheduler, backlog, server, probes       alarms; ticks that are due; HTTP; health
          service                                  puts these together and keeps them going
          demo, replay, scoreboard, display        a real series, tick by tick, on a screen
          cli, commands                            what people type
"""
