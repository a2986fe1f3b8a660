"""Read by SQL what the newest forecast of each series attended to.

    forecaster demo --once
    python examples/attention_from_sql.py forecaster-demo.db

The same query works in PostgreSQL; docs/reference/views.md lists the views and their columns.
"""

import sqlite3
import sys
from contextlib import closing

STRONGEST = """
WITH newest AS (
  SELECT dataset, series_id, max(cutoff) AS cutoff
  FROM forecast_attention
  GROUP BY dataset, series_id
)
SELECT series_id, step_from, step_to, source, context_from, context_to, weight
FROM forecast_attention
JOIN newest USING (dataset, series_id, cutoff)
WHERE weight > 0.05
ORDER BY dataset, series_id, step_from, weight DESC
"""


def main(database: str) -> None:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        rows = connection.execute(STRONGEST).fetchall()
    for series_id, step_from, step_to, source, context_from, context_to, weight in rows:
        period = f"{context_from} … {context_to}" if source == "past" else source
        print(f"{series_id}  steps {step_from}-{step_to}  {weight:4.0%}  {period}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "forecaster-demo.db")
