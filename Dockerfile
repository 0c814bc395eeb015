# An image with the command `myosu`. Runs are kept in /runs:
#
#   docker build -t myosu .
#   docker run --rm -v "$PWD/runs:/runs" myosu train tictactoe --minutes 2 --run /runs/first
#   docker run --rm -p 8610:8610 -v "$PWD/runs:/runs" myosu play /runs/first --host 0.0.0.0 --no-browser
#
# By default pip takes torch with CUDA, some GB. For a small image name an index of CPU builds:
#   docker build --build-arg PIP_EXTRA_INDEX_URL=... -t myosu .
# For a cluster: --build-arg EXTRAS=plot,ray (docs/scale.md).
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.13-slim
ARG PIP_EXTRA_INDEX_URL=
ARG EXTRAS=plot
COPY requirements.lock /tmp/
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir -r /tmp/requirements.lock && pip install --no-cache-dir "$(ls /wheels/*.whl)[$EXTRAS]"
COPY scripts/cluster.sh /usr/local/bin/
RUN useradd --create-home player && mkdir /runs && chown player /runs && ln -s /runs /home/player/runs
USER player
WORKDIR /home/player
VOLUME /runs
EXPOSE 8610
ENTRYPOINT ["myosu"]
