# The program in an image without anything else. Build: docker build -t registry.example.com/gitward:0.1.0 .
FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin gitward

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/target/release/gitward /usr/local/bin/gitward
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/gitward"]
