FROM golang:1.26-bookworm AS build
WORKDIR /src
# The modules have a layer of their own, so that a change of the code does not
# download them again.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -o /out/parley ./cmd/parley && mkdir /out/data

# Nothing but certificates, time zones and a user without rights (65532).
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/parley /usr/local/bin/parley
# A new volume takes the owner of the folder it is mounted on.
COPY --from=build --chown=65532:65532 /out/data /data
ENV PARLEY_DATA_DIR=/data
VOLUME /data
EXPOSE 1883 8883 8080
ENTRYPOINT ["/usr/local/bin/parley"]
CMD ["serve"]
