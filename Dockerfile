# One image for centre, gateway and the simulated building of the demo: it differs in the command only.
FROM python:3.13.7-slim-bookworm AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY drivers drivers
COPY profiles profiles
COPY collector collector
COPY hil hil
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheel . \
 && python -m venv /opt/meterline \
 && /opt/meterline/bin/pip install --no-cache-dir "$(ls /wheel/meterline-*.whl)[central,edge]" \
 && /opt/meterline/bin/pip check

FROM python:3.13.7-slim-bookworm
# openssl: deploy/setup.py makes the certificates with it. The base image has it for its certificates; say so if not.
RUN openssl version \
 && groupadd --gid 10001 meterline \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin meterline \
 && install -d -o meterline -g meterline -m 0700 /var/lib/meterline
COPY --from=build /opt/meterline /opt/meterline
COPY deploy/setup.py deploy/connected.py /opt/meterline/deploy/
ENV PATH=/opt/meterline/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
VOLUME /var/lib/meterline
ENTRYPOINT ["meterline"]
CMD ["--help"]
