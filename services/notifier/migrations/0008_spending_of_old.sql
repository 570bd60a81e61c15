-- Days that no cap asks for any more are dropped.
GRANT DELETE ON sms_spending TO notifier;
