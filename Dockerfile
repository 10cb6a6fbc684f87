# unstir as a container: two stages on debian:bookworm-slim.
#
#   docker build -t unstir .
#   docker run --rm -p 127.0.0.1:8080:8080 --read-only --cap-drop ALL unstir
#
# The first stage builds and passes the tests; the second holds the program,
# the libraries it needs and the models, and runs without root, without build
# tools, on a read-only file system.

FROM debian:bookworm-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends \
        gcc libc6-dev binutils make pkg-config libmicrohttpd-dev libuv1-dev \
        libjansson-dev libopenblas-serial-dev libpng-dev zlib1g-dev nettle-dev \
        libutf8proc-dev libturbojpeg0-dev libwebp-dev \
        libcmocka-dev curl jq procps python3 \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# --build-arg TESTS=none builds without them.
ARG TESTS="unit kern golden server http"
RUN make -s -j"$(nproc)" all \
    && { [ "$TESTS" = none ] || make -s -j"$(nproc)" check FAMILIES="$TESTS"; } \
    && make -s install DESTDIR=/out PREFIX=/usr

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends \
        libmicrohttpd12 libuv1 libjansson4 libopenblas0-serial libpng16-16 \
        zlib1g libnettle8 libutf8proc2 libturbojpeg0 libwebp7 libwebpmux3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin unstir
COPY --from=build /out/usr/bin/unstir /usr/bin/unstir
COPY --from=build /out/usr/share/unstir /usr/share/unstir
COPY LICENSE /usr/share/doc/unstir/LICENSE
USER 10001:10001
# Inside a container the address is for the container's own network; publish
# it on 127.0.0.1 of the host unless something in front checks who may ask.
ENV UNSTIR_LISTEN=0.0.0.0:8080 \
    UNSTIR_INSECURE_NO_AUTH=1 \
    UNSTIR_LOG_FORMAT=json
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s \
    CMD ["/usr/bin/unstir", "healthcheck", "http://127.0.0.1:8080/health/ready"]
ENTRYPOINT ["/usr/bin/unstir"]
CMD ["serve"]
