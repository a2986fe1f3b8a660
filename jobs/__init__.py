"""The program: clock, arguments, signals and ports are used only here.

Start reading at `forecast`: pull -> read -> predict -> write. A module or package imports from the
layers below its own, never from above:

cli · commands                    the command line
simulation · demo · service       replays; the long-running service
catalog · backfill · explain      the list of jobs; past ticks; one stored forecast read back
http · training_process           endpoints; training in a child process
forecast · retrain · score        the jobs, one `run(...) -> Report` each
reconcile · prune · ingest
backtest · telemetry              `forecaster backtest`; Prometheus metrics and dataset states
scheduling · replicas             when runs are due; leases
stages · terminal                 steps that jobs share; what commands share
execution · files                 one run of one job; CSV, Parquet and NDJSON
"""
