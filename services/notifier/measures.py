"""The notifier's own metrics. Labels are states, reasons and verdicts; never a number, a clinic or an id."""

from prometheus_client import Counter, Gauge, Histogram

CHANGES = Counter("notifier_delivery_changes_total", "Deliveries that reached a state.", ["state", "reason"])
PROVIDER_SECONDS = Histogram(
    "notifier_provider_seconds",
    "Time the provider of a channel took to answer, by verdict.",
    ["channel", "verdict"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20),
)
LOCKED_OUT = Counter("notifier_provider_locked_out_total", "Calls that the provider refused for our credentials.")
CALLBACKS_REFUSED = Counter("notifier_callbacks_refused_total", "Status callbacks that were not accepted.", ["why"])
PUBLISHED = Counter("notifier_relay_published_total", "Delivery ids put in the queue.")
QUEUE_AGE = Gauge("notifier_queue_age_seconds", "How long the oldest due code has been waiting to be sent.")
NOTICE_AGE = Gauge("notifier_notice_age_seconds", "How long the oldest due notice has been waiting to be sent.")
BACKLOG = Gauge("notifier_queue_backlog", "Delivery ids waiting in the broker's queue; -1 where it does not say.")
