#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""TLS in front of a server on loopback: tls.py SERVER-PORT CERTIFICATE PORT-FILE. The certificate's file has its key too."""
import os
import socket
import ssl
import sys
import threading


def pump(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for end in source, target:
            end.close()


def serve(context, client, port):
    try:
        inner = context.wrap_socket(client, server_side=True)
        server = socket.create_connection(("127.0.0.1", port))
    except OSError:  # who does not trust the certificate goes away
        client.close()
        return
    threading.Thread(target=pump, args=(server, inner), daemon=True).start()
    pump(inner, server)


def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[2])
    listener = socket.create_server(("127.0.0.1", 0))
    with open(sys.argv[3] + ".new", "w") as f:
        f.write(str(listener.getsockname()[1]))
    os.rename(sys.argv[3] + ".new", sys.argv[3])
    while True:
        client, _ = listener.accept()
        threading.Thread(target=serve, args=(context, client, int(sys.argv[1])), daemon=True).start()


main()
