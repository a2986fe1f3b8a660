"""The configuration that `forecaster init` writes: every setting, its default, what it means."""

SAMPLE = """\
# Forecaster's configuration. Every setting is here; the lines that start with "#" show defaults.
# Durations are 15m, 1h30m, 7d or PT15M. ${NAME} reads the environment, ${NAME:-default} may be
# unset; any secret may come from a file instead, for example database_url_file = "/run/secrets/db".

database_url = "sqlite:///forecaster.db"   # or postgresql://user:password@host/database
# prune_every = "1d"                       # how often rows past their [retention] are deleted
# lease_ttl = "15s"                        # after how long of silence other replicas take over

[server]
# listen = "127.0.0.1:8790"                # 0.0.0.0:8790 is open to the world: set the following
# username = "prometheus"                  # asked for on all pages but /livez and /readyz
# password_file = "/run/secrets/password"
# tls_certificate = "/run/secrets/tls.crt" # read again when it changes
# tls_key = "/run/secrets/tls.key"

[retention]                                # how long rows are kept
# observations = "forever"                 # no shorter than the history that a query gives
# forecasts = "14d"                        # counted from when their last step can be scored
# attention = "14d"
# accuracy = "90d"
# runs = "90d"
# models = 10                              # retired ones kept per dataset, once all is scored

# A dataset is a group of series with one step, one horizon and one model. Add as many as you like.
[datasets.example]
step = "1h"                                # the grid: 5m, 1h, 1d, 1w, 1mo …
horizon = "2d"                             # how far ahead; or prediction_length = 48
# Without a query, the dataset has what `forecaster ingest` reads. It may use :since and :until.
# query = "SELECT station AS series_id, hour AS timestamp, rentals AS value FROM trips"
# source_url = "${WAREHOUSE_URL}"          # where the query runs, read-only; default: database_url
# series_columns = ["series_id"]           # several columns make one key
# timestamp_column = "timestamp"
# value_column = "value"
# timestamp_format = "%d/%m/%Y %H:%M"      # of text; default: all that can mean one time only
# decimal = ","                            # in text: 1.234,5; default: plain numbers, 1234.5
# max_rejected = 0.05                      # share of a file or pull that may be unusable
# ingest_column = "id"                     # grows with every row written; default: none
# timezone = "America/New_York"            # of timestamps without one, and of days
# timestamp_marks = "start"                # of periods; or "end", or "instant"; default: detected
# delay = "0s"                             # data up to 10:00 is in at 10:00 + delay
# forecast_every = "1h"                    # 5m, 1d, 1w, 1mo …, each + delay; default: the step
# or by a clock: forecast_cron = "5 6-18 * * mon-fri"   # minute hour day month weekday, or @daily
# retrain_every = "1d"                     # default: 1d to 1w; 1mo for weeks; or retrain_cron
# schedule_timezone = "America/New_York"   # of cron, days, weeks, …; default: timezone, or else UTC
# jitter = "0s"                            # jobs wake up to so much later, each by its own share
# catchup = "all"                          # ticks while we were down: all, latest or none are run
# catchup_limit = 100                      # the newest so many of them; the others are missed
# overlap = "queue"                        # ticks while an earlier one runs: queue or skip
# history = "10000h"                       # how much of the past is read; default: 10000 steps
# late_data = "2h"                         # after delay, read again on every pull; default: 2 steps
# read_timeout = "5m"                      # then a read is cut; default: half a tick, 10s to 5m
# reconcile_every = "1d"                   # all of history is read again; or reconcile_cron
# lower_bound = 0                          # forecasts stay above; default: none
# upper_bound = 100                        # and below; default: none

[datasets.example.deadlines]               # then a stage is cut; shorter than the interval
# pull = "30m"                             # default: half of the forecast interval, 10s to 30m
# predict = "30m"                          # the same
# write = "30m"                            # the same
# train = "1d"                             # default: the retrain interval, 10m to 1d

[datasets.example.calendar]                # closed times are no gap, not forecast, not scored
# open = "auto"                            # found; "always"; "mon-fri 8:00-20:00, sat 9:00-13:00"

[datasets.example.model]                   # left out: derived from the data
# score = "scaled_dot"                     # dot, general, additive, location, local; or yours
# normaliser = "softmax"                   # sparsemax, entmax15
# temperature = 1.0                        # below 1 attends more sharply, above 1 more evenly
# attention_window = 14                    # newest patches that may be attended; default: all
# self_attention = false                   # among the encoder's states, before the attention
# priors = []                              # yours, as "package.module:name"
# encoder = "lstm"                         # lstm, gru or rnn
# head = "quantile"                        # quantile, student_t or gaussian_mixture
# statistics = "window"                    # or causal; default: up to 99 series try which pays
# calendar = true                          # false: no hour and weekday as inputs; default: as above
# season_length = 24
# patch_length = 24
# context_length = 336
# hidden_size = 64
# layers = 2
# heads = 6
# dropout = 0.1

[datasets.example.training]
# seed = 0
# steps = 800                              # default: derived from the number of series
# batch_size = 128                         # default: derived from the number of series
# learning_rate = 0.004
# device = "auto"                          # auto, cpu or cuda
# ensemble = 1                             # networks whose forecasts are averaged
# naive_guard = true                       # a naive forecast serves if clearly better on validation
# memory_limit_gb = 8                      # main memory a training may take; default: no limit
# threads = 1                              # of its process; more where cores are idle
# max_points = 20000000                    # series x steps in memory; of more it sees a sample
"""
