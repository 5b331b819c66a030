-- The users of the database, made once, when the server makes its data folder. Nobody who comes over the network is a
-- superuser. Passwords come from files and are not shown: psql reads them, the server keeps SCRAM verifiers.
\set ON_ERROR_STOP on
\set centre `head -n 1 /meterline/variable/centre_password`
\set grafana `head -n 1 /meterline/variable/grafana_password`

CREATE ROLE meterline LOGIN PASSWORD :'centre';
CREATE ROLE grafana LOGIN PASSWORD :'grafana';
CREATE DATABASE meterline OWNER meterline ENCODING 'UTF8' TEMPLATE template0;

\connect meterline
REVOKE ALL ON DATABASE meterline FROM PUBLIC;
GRANT CONNECT ON DATABASE meterline TO grafana;
ALTER SCHEMA public OWNER TO meterline;
GRANT USAGE ON SCHEMA public TO grafana;
-- The dashboards read; the tables come later, with the centre's first start.
ALTER DEFAULT PRIVILEGES FOR ROLE meterline IN SCHEMA public GRANT SELECT ON TABLES TO grafana;
ALTER ROLE grafana SET default_transaction_read_only = on;
