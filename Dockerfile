# syntax=docker/dockerfile:1
#
#   docker build -t darkhorse-genesis .                                for NVIDIA cards
#   docker build -t darkhorse-genesis --build-arg FEATURES=flex .      for the CPU (or vulkan)
#   docker run --rm -it --gpus all -v darkhorse:/data darkhorse-genesis --prompt "Explain the laws of thermodynamics."
#
# Runs, checkpoints and kernel caches land in /data. --gpus needs the NVIDIA Container Toolkit on the host.

ARG RUST=1.95
ARG FEATURES=cuda

FROM rust:${RUST}-bookworm AS build
ARG FEATURES
# The CUDA release whose driver calls are used; without it the newest one, which shuts older drivers out.
ENV CUDARC_CUDA_VERSION=12080
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --release --locked --no-default-features --features "${FEATURES}" --bin darkhorse-genesis \
    && install -D target/release/darkhorse-genesis /out/darkhorse-genesis

# Kernels are compiled while the program runs: that takes NVRTC and CUDA's headers, but no whole toolkit.
FROM python:3.11-slim-bookworm AS cuda
COPY scripts /scripts
RUN /scripts/cuda-runtime.sh /usr/local/cuda

FROM debian:bookworm-slim AS base
RUN useradd --uid 1000 --home-dir /data --create-home darkhorse

FROM base AS runtime-flex

FROM base AS runtime-vulkan
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libvulkan1 mesa-vulkan-drivers \
    && rm -rf /var/lib/apt/lists/*
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,graphics,utility

FROM runtime-vulkan AS runtime-wgpu

FROM base AS runtime-cuda
COPY --from=cuda /usr/local/cuda /usr/local/cuda
ENV CUDA_PATH=/usr/local/cuda \
    LD_LIBRARY_PATH=/usr/local/cuda/lib \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

FROM runtime-${FEATURES}
COPY --from=build /out/darkhorse-genesis /usr/local/bin/darkhorse-genesis
USER darkhorse
WORKDIR /data
VOLUME /data
ENTRYPOINT ["darkhorse-genesis"]
CMD ["--help"]
