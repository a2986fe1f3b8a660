"""Time as settings and rows write it: durations, cron, schedules, opening hours, timestamps."""
