-- New passwords from the files of today, for both users (docs/deployment.md, Secrets).
\set ON_ERROR_STOP on
\set centre `head -n 1 /meterline/variable/centre_password`
\set grafana `head -n 1 /meterline/variable/grafana_password`
ALTER ROLE meterline PASSWORD :'centre';
ALTER ROLE grafana PASSWORD :'grafana';
