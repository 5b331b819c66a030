"""Users and certificates of the broker: deploy/setup.py, `gateway enroll`. Standard library and openssl alone."""
