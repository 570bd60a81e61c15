"""The notifier's own metrics. Labels are states, reasons and verdicts; never a number, a clinic or an id."""

import time

from prometheus_client import Counter, Gauge, Histogram

CHANGES = Counter("notifier_delivery_changes_total", "Deliveries that reached a state.", ["state", "reason"])
PROVIDER_SECONDS = Histogram(
    "notifier_provider_seconds",
    "Time the provider of a channel took to answer, by verdict.",
    ["channel", "verdict"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20),
)
LOCKED_OUT = Counter("notifier_provider_locked_out_total", "Calls that the provider refused for our credentials.")
TEXTS_REFUSED = Counter(
    "notifier_texts_refused_total", "Text messages not taken on: clinic_cap, deployment_cap, country.", ["reason"]
)
TEXTS_TODAY = Gauge(
    "notifier_texts_today",
    "Text messages taken on since midnight UTC, all clinics together, each as often as it is paid for.",
)
TEXTS_DAILY_CAP = Gauge("notifier_texts_daily_cap", "How many of them the deployment may take on in a day.")
SMS_DEGRADED = Gauge("notifier_sms_degraded", "1 while of late most text messages have not gone out.")
CALLBACKS_REFUSED = Counter("notifier_callbacks_refused_total", "Status callbacks that were not accepted.", ["why"])
PUBLISHED = Counter("notifier_relay_published_total", "Delivery ids put in the queue.")
QUEUE_AGE = Gauge("notifier_queue_age_seconds", "How long the oldest due code has been waiting to be sent.")
NOTICE_AGE = Gauge("notifier_notice_age_seconds", "How long the oldest due notice has been waiting to be sent.")
BACKLOG = Gauge("notifier_queue_backlog", "Delivery ids waiting in the broker's queue; -1 where it does not say.")
OPEN = Gauge(
    "notifier_open_deliveries",
    "Deliveries that wait (queued) or are being sent, by sort and by time since they were ordered, each in the bracket"
    " that ends at `age`.",
    ["state", "sort", "age"],
)
HEARTBEAT_AGE = Gauge(
    "notifier_heartbeat_age_seconds",
    "Time since the loop of this process last came round; relay and worker.",
    ["process"],
)


def beat(process: str) -> None:
    """This process's loop has come round."""
    at = time.monotonic()
    HEARTBEAT_AGE.labels(process).set_function(lambda: time.monotonic() - at)
