"""Serves a GGUF with llama.cpp alone, for the evaluation: `python -m training.serve FILE --port 8091`."""

import argparse
import os
import signal
import threading

import xllamacpp


def start(path: str, port: int, slots: int = 8, threads: int = 2) -> xllamacpp.Server:
    """llama.cpp's own server on 127.0.0.1; `listening_address` holds the URL."""
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.model_alias = {"modelhost-nano"}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_parallel = slots
    params.n_ctx = 2048 * slots
    params.use_jinja = True
    params.ui = False
    params.verbosity = 1
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    return xllamacpp.Server(params)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    # The library has no clean way down while requests run.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    server = start(options.file, options.port, threads=options.threads)
    print(server.listening_address, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
