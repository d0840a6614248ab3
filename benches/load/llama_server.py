"""llama.cpp's server, as the package `xllamacpp` carries it: llama_server.py GGUF PORT STREAMS [THREADS]

It serves until it is killed. Every stream has a context of 512 tokens, in a cache of f16.
"""

import signal
import sys

import xllamacpp


def main(model: str, port: str, streams: str, threads: str = "2") -> None:
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.port = int(port)
    params.n_parallel = int(streams)
    params.n_ctx = 512 * int(streams)
    params.cont_batching = True
    params.n_gpu_layers = 0
    params.ui = False
    for cpu in (params.cpuparams, params.cpuparams_batch):
        cpu.n_threads = int(threads)
    server = xllamacpp.Server(params)
    print(f"llama.cpp {xllamacpp.__version__} at {server.listening_address}", flush=True)
    signal.pause()


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    main(*sys.argv[1:])
