# Parley in an image of its own: no shell, no user with rights, one file.
#
#   docker build --build-arg VERSION=v1.2.3 --build-arg REVISION=$(git rev-parse HEAD) -t parley .

FROM node:20-bookworm-slim AS web
WORKDIR /src/web
# What is installed has a layer of its own, so that a change of the code does
# not download it again.
COPY web/package.json web/package-lock.json web/.npmrc ./
COPY web/sdk/package.json ./sdk/
COPY web/app/package.json ./app/
RUN npm ci --no-audit --no-fund
COPY web/ ./
RUN npm run build -w app

FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
COPY --from=web /src/web/dist ./web/dist
# There is no repository in the build, so these say what parley version shows.
ARG VERSION=
ARG REVISION=
ARG CREATED=
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w \
      -X github.com/parley-mqtt/parley/internal/app.version=$VERSION \
      -X github.com/parley-mqtt/parley/internal/app.revision=$REVISION \
      -X github.com/parley-mqtt/parley/internal/app.built=$CREATED" \
      -o /out/parley ./cmd/parley && mkdir -m 700 /out/data

# Nothing but certificates, time zones and a user without rights.
FROM gcr.io/distroless/static-debian12:nonroot
ARG VERSION=
ARG REVISION=
ARG CREATED=
LABEL org.opencontainers.image.title="Parley" \
      org.opencontainers.image.description="Messaging on MQTT: chat, notifications, presence" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED"
COPY --from=build /out/parley /usr/local/bin/parley
# A new volume takes the owner of the folder it is mounted on.
COPY --from=build --chown=65532:65532 /out/data /data
# In numbers, so that Kubernetes can see that it is not root.
USER 65532:65532
ENV PARLEY_DATA_DIR=/data
VOLUME /data
EXPOSE 1883 8883 8080
# By the settings in the environment; flags of the command are not seen here.
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s --retries=3 CMD ["/usr/local/bin/parley", "health"]
ENTRYPOINT ["/usr/local/bin/parley"]
CMD ["serve"]
