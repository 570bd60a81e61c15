"""The JSON API, a file for each subject; each exposes `router`. Routes translate and call an operation, no more."""
