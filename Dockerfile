# syntax=docker/dockerfile:1
#
# docker build -t forecaster .
#
# The image carries the torch of the default package index: with CUDA on x86-64, and several GB
# large. --build-arg TORCH_INDEX=URL adds an index of CPU builds, whose torch (+cpu) is preferred.

ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
ARG TORCH_INDEX=
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/forecaster
ENV PATH=/opt/forecaster/bin:$PATH
WORKDIR /src

# Dependencies change less often than the code: they get a layer of their own.
COPY pyproject.toml constraints.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install -c constraints.txt ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} torch
RUN --mount=type=cache,target=/root/.cache/pip \
    python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
      > requirements.txt \
    && pip install -c constraints.txt -r requirements.txt

COPY README.md LICENSE hatch_build.py ./
COPY migrations migrations
COPY forecaster forecaster
COPY jobs jobs
RUN pip install --no-deps --no-cache-dir .

FROM python:${PYTHON}-slim
LABEL org.opencontainers.image.title="forecaster" \
      org.opencontainers.image.licenses="Apache-2.0"

COPY --from=build /opt/forecaster /opt/forecaster
ENV PATH=/opt/forecaster/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1

# Inside a container, `listen` under [server] has to be "0.0.0.0:8790" to be reached from outside.
# The configuration is mounted at /data/forecaster.toml; with SQLite the database lives there too.
RUN install -d -o 10001 -g 10001 /data
USER 10001:10001
WORKDIR /data
VOLUME /data

EXPOSE 8790
# A stop takes nine seconds at most, whatever hangs: the ten of `docker stop` are enough.
STOPSIGNAL SIGTERM
# Asks /livez, and not the database: one that is down must not have the service restarted.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["forecaster", "status", "--live"]

# Training runs in child processes: start with `docker run --init`, so that they are reaped.
ENTRYPOINT ["forecaster"]
CMD ["serve"]
